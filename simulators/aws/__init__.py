"""The simulated AWS: ministack in this process, completed and made to behave like the real cloud.

ministack reads its configuration from the environment when it is imported, so it is set here, before any module of this
package can import it: authorization on, nothing but loopback, no listener of its own, nothing kept on disk.
"""

import os

os.environ.update(
    AUTH="true",
    BIND_HOST="127.0.0.1",
    IOT_MTLS_ENABLED="0",
    SFTP_ENABLED="0",
    PERSIST_STATE="0",
    S3_PERSIST="0",
    LOG_LEVEL="ERROR",
    LOCALSTACK_PERSISTENCE="0",
    # No container runtime is ever looked for: EKS clusters live in our own Kubernetes simulator.
    DOCKER_HOST="unix:///nonexistent/docker.sock",
    # The signer's "configured" key would otherwise be root in every account.
    MINISTACK_ACCOUNT_ID="000000000000",
)
