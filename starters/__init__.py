"""Who starts and steers workflows: the client library, the command line, and the local playground."""
