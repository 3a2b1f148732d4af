"""A backend that registers its users at SnapTrade and forgets those who were evicted.

It neither counts users nor deletes any: the sidecar does, behind the base URL. There is no sign-in here. In yours, the
user id is that of whoever is signed in, never one that the browser names.
"""

import os
import pathlib
import time
from typing import Annotated

import urllib3
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import AwareDatetime, BaseModel, Field
from snaptrade_client import SnapTrade, SnapTradeAuth
from snaptrade_client.exceptions import ApiException

import notices
from users import Users

API_HOST = os.environ.get("SNAPTRADE_API_HOST", "https://api.snaptrade.com")
FRONTEND_URL = os.environ.get("FRONTEND_URL", "http://127.0.0.1:8000")
NOTICE_SECRET = os.environ.get("NOTICE_SECRET", "")
# What the key allows. SnapTrade does not tell; the page shows it, and nothing rests on it.
MAX_USERS = int(os.environ.get("SNAPTRADE_MAX_USERS", "5"))
# SnapTrade's codes for a user that it has already, and for one that it does not have, or with another secret.
USER_EXISTS = "1010"
UNKNOWN_USER = "1083"

snaptrade = SnapTrade(
    auth=SnapTradeAuth.commercial_api_key(
        client_id=os.environ["SNAPTRADE_CLIENT_ID"],
        consumer_key=os.environ["SNAPTRADE_CONSUMER_KEY"],
    ),
    host=API_HOST,  # All that registering needs of the sidecar: its address in place of SnapTrade's.
)
users = Users(os.environ.get("DATABASE", "users.db"))

app = FastAPI(title="A backend beside snaptrade-sidecar")
app.add_middleware(
    CORSMiddleware, allow_origins=[FRONTEND_URL], allow_methods=["GET", "POST"], allow_headers=["Content-Type"]
)


class Named(BaseModel):
    user_id: str = Field(min_length=1, max_length=100)


class Notice(BaseModel):
    user_id: str
    at: AwareDatetime


@app.post("/api/snaptrade/register", status_code=201)
def register(named: Named):
    asked_at = time.time()
    try:
        reply = snaptrade.authentication.register_snap_trade_user(user_id=named.user_id)
    except ApiException as refusal:
        # Room may have been made for a registration that failed after it.
        forget(refusal.headers or {}, asked_at)
        if told(refusal).get("code") != USER_EXISTS:
            raise
        raise HTTPException(409, f"{named.user_id} is registered already.") from None
    # The secret stays here: with it, anybody who has the key acts as this user.
    users.add(named.user_id, reply.body["userSecret"])
    return {"user_id": named.user_id, "evicted": forget(reply.headers, asked_at)}


def forget(headers, asked_at):
    evicted = notices.evicted_by(headers)
    for user_id in evicted:
        # Whoever was registered while this was under way may be a new user of the same id.
        users.forget(user_id, registered_before=asked_at)
    return evicted


async def body_of(request: Request) -> bytes:
    return await request.body()


@app.post("/api/snaptrade/evicted", status_code=204)
def evicted(request: Request, body: Annotated[bytes, Depends(body_of)]):
    """What the sidecar tells of an eviction, whoever's registration it was for. It may come twice, and late."""
    if not notices.is_genuine(request.headers, body, NOTICE_SECRET):
        raise HTTPException(401, "This notice is not signed with the secret that is shared with the sidecar.")
    notice = Notice.model_validate_json(body)
    users.forget(notice.user_id, registered_before=notice.at.timestamp())


@app.get("/api/snaptrade/status")
def status():
    listed = snaptrade.authentication.list_snap_trade_users().body
    # A user whose deletion is under way is listed as `<id>_deleted` for a while.
    return {"users": sum(not user_id.endswith("_deleted") for user_id in listed), "limit": MAX_USERS}


@app.post("/api/snaptrade/login")
def login(named: Named):
    """A link to the Connection Portal. It works for 5 minutes, and for whoever has it."""
    secret = users.secret(named.user_id)
    if secret is None:
        raise HTTPException(404, f"{named.user_id} is not registered.")
    asked_at = time.time()
    try:
        reply = snaptrade.authentication.login_snap_trade_user(
            user_id=named.user_id, user_secret=secret, custom_redirect=FRONTEND_URL
        )
    except ApiException as refusal:
        if told(refusal).get("code") != UNKNOWN_USER:
            raise
        # Evicted, and no notice came, as while this backend was down.
        users.forget(named.user_id, registered_before=asked_at)
        raise HTTPException(404, f"SnapTrade does not know {named.user_id} any more. Register again.") from None
    return {"redirect_uri": reply.body["redirectURI"]}


@app.get("/api/users")
def stored():
    return users.all()


@app.exception_handler(ApiException)
def refused(_: Request, refusal: ApiException):
    # A 401 is about this backend's key, not about who calls this backend.
    is_callers = 400 <= refusal.status < 600 and refusal.status != 401
    detail = told(refusal).get("detail") or f"SnapTrade answered with {refusal.status}."
    return JSONResponse({"detail": detail}, refusal.status if is_callers else 502)


def told(refusal: ApiException) -> dict:
    """The body of the refusal, the sidecar's own included; of what stands between, it may be anything."""
    return refusal.body if isinstance(refusal.body, dict) else {}


@app.exception_handler(urllib3.exceptions.HTTPError)
def unreachable(_: Request, __: urllib3.exceptions.HTTPError):
    return JSONResponse({"detail": f"There is no answer from {API_HOST}."}, 502)


app.mount("/", StaticFiles(directory=pathlib.Path(__file__).parent / "page", html=True))
