"""Names of series that are not obskit's own."""

#: Of the programs of the stack, which are no service: selected by their job instead of a service's identity.
OF_THE_STACK: frozenset[str] = frozenset()
