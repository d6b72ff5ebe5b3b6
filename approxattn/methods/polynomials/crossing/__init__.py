"""What of a pass crosses to the host at the call, and what stays until a certificate is read."""
