"""An ASGI app of no framework, which knows no lifespan."""

import obskit

obs = obskit.init(service_name="bare")


async def application(scope, receive, send):
    assert scope["type"] == "http", scope["type"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


app = obs.wrap(application)
