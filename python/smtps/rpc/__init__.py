"""S-expressions over a pipe, either side calling the other.  Knows no SMTP."""
