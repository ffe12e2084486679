"""What the shop sells; inventory and pricing seed their own tables with it, the load buys from it."""

PRODUCTS = {
    "anorak": 18900, "beanie": 2400, "boots": 15900, "canteen": 2900, "compass": 3900, "gloves": 3400,
    "headlamp": 4900, "kettle": 3200, "knife": 5400, "lantern": 6900, "map": 1200, "mug": 1600,
    "pack": 17900, "poncho": 4500, "rope": 8900, "sandals": 7900, "socks": 1900, "stove": 9900,
    "tent": 32900, "towel": 2200,
}  # fmt: skip
"""Stock-keeping unit to list price, in cents."""

SCARCE = "lantern"
"""The one product that runs out."""
