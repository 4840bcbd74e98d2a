"""smtps: SMTP submission over TLS, for Emacs and for any shell."""

VERSION = "0.1.0"
