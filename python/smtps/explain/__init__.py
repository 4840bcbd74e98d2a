"""What servers' replies mean, in words.  The words are data, which Emacs reads as well."""
