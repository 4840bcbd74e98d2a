"""SMTP without I/O: bytes in, events out; intentions in, bytes out.

Nothing here knows a socket, a clock or a file.  ``connection`` is where the parts meet;
``submission`` leads a connection through a transaction, ``connection.send_line`` follows
a person who leads it by hand.
"""
