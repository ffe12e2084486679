"""A shop of six small services, each observed by one ``obskit.init`` call."""
