"""What the control plane costs over bare Temporal, and what an idle fleet costs. Ratios within one run."""
