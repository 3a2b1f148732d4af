"""A plain backend, as a start command names it: app:app. Of the sidecar it knows its base URL."""

import os

from fastapi import FastAPI
from snaptrade_client import SnapTrade, SnapTradeAuth

credentials = SnapTradeAuth.commercial_api_key(
    client_id=os.environ["SNAPTRADE_CLIENT_ID"], consumer_key=os.environ["SNAPTRADE_CONSUMER_KEY"]
)
snaptrade = SnapTrade(auth=credentials, host=os.environ["SNAPTRADE_API_HOST"])
app = FastAPI()


@app.post("/users/{user_id}")
def register(user_id: str):
    reply = snaptrade.authentication.register_snap_trade_user(user_id=user_id)
    return {"user_id": reply.body["userId"], "has_secret": bool(reply.body["userSecret"])}
