"""What the owner of an address confirms with a token that was sent to it: a registration, a password set anew.

A request only leaves a row and a due row, whoever lives at the address or nobody: what it does and how long it takes
tells nothing. The mail is made and sent when the row is due.
"""
