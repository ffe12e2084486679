"""The same without obskit: what a server does by itself."""

from fastapi import FastAPI

app = FastAPI()


@app.get("/readyz")
async def ready() -> str:
    return "ready"
