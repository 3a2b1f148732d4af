"""The official Python SDK, driven by lines of JSON: a call on stdin, what came of it on stdout.

Runs in the virtual environment that holds the SDK, and knows two generations of it: 11 takes the credentials
as they are, 13 wants them wrapped. Arguments: base URL, client id, consumer key.
"""

import base64
import json
import sys

import snaptrade_client
from snaptrade_client.exceptions import ApiException


def build(base_url, client_id, consumer_key):
    credentials = {"consumer_key": consumer_key, "client_id": client_id}
    if hasattr(snaptrade_client, "SnapTradeAuth"):
        credentials = {"auth": snaptrade_client.SnapTradeAuth.commercial_api_key(**credentials)}
    return snaptrade_client.SnapTrade(**credentials, host=base_url)


def record_bodies(api):
    """Keeps the bytes of each reply: the SDK's exception holds only the JSON that it read in them."""
    rest = api.api_client.rest_client
    request = rest.request
    bodies = []

    def recording(*args, **kwargs):
        wrapped = request(*args, **kwargs)
        bodies.append(wrapped.http_response.data)
        return wrapped

    rest.request = recording
    return bodies


def perform(client, call):
    if call["call"] == "status":
        return client.api_status.check()
    if call["call"] == "list":
        return client.authentication.list_snap_trade_users()
    if call["call"] == "register":
        return client.authentication.register_snap_trade_user(user_id=call["user_id"])
    if call["call"] == "delete":
        return client.authentication.delete_snap_trade_user(user_id=call["user_id"])
    raise ValueError(f"no such call: {call['call']}")


def answer(client, call):
    api = client.api_status if call["call"] == "status" else client.authentication
    bodies = record_bodies(api)
    try:
        reply = perform(client, call)
        failed, headers = False, reply.response.headers
    except ApiException as refusal:
        reply, failed, headers = refusal, True, refusal.headers
    return {
        "failed": failed,
        "status": reply.status,
        "body": reply.body,
        "raw": base64.b64encode(bodies[-1]).decode(),
        "headers": {name.lower(): value for name, value in headers.items()},
    }


def main():
    base_url, client_id, consumer_key = sys.argv[1:]
    for line in sys.stdin:
        # A client of its own for each call, as a process that registers one user has.
        client = build(base_url, client_id, consumer_key)
        print(json.dumps(answer(client, json.loads(line))), flush=True)


main()
