"""EC2 as the real one answers it, over the records that ministack keeps.

ministack accepts almost everything and finishes it at once. Here calls are validated, repeated calls recognized by
their token, resources take their time, what is in use cannot be deleted, and filters filter.
"""
