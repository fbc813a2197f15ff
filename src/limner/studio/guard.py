"""Who may speak to the studio, and how much: checked before any request reaches it.

A page of another site that is open in the same browser can send requests to a server on this machine. They are told
apart by `Host` (a foreign name that was pointed at this machine), `Origin` and `Sec-Fetch-Site`.
"""

import asyncio
import hmac
import ipaddress
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 12 << 20
BODY_SECONDS = 20.0
COOKIE = "limner_studio"
REPLY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src blob:; connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware that turns away foreign hosts and origins, wrong tokens, bodies that are too large or slow."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str], token: str | None, body_seconds: float) -> None:
        self.app, self.hosts, self.token, self.body_seconds = app, hosts, token, body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with a sentence that says why not."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # no WebSocket is served
            await send({"type": "websocket.close"})
            return

        answered = False

        async def send_guarded(message: Message) -> None:
            nonlocal answered
            answered = True
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in REPLY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope) or self._admission(scope)
        if refusal is not None:
            await refusal(scope, receive, send_guarded)
            return
        try:
            async with asyncio.timeout(self.body_seconds):
                body = await _read_body(receive)
        except TimeoutError:
            await _refuse(408, "The request did not arrive in time.")(scope, receive, send_guarded)
        except _TooLargeError:
            message = f"The request is larger than {MAX_BODY >> 20} MB."
            await _refuse(413, message)(scope, receive, send_guarded)
        else:
            if body is None:
                return
            try:
                await self.app(scope, _replay(body, receive), send_guarded)
            except asyncio.CancelledError:  # the studio ends, and has waited for this request
                if not answered:
                    await _refuse(503, "The studio was closed.")(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        """Why a request from elsewhere is not served; `None` for one of our own page or of a program."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not _is_ours(host, self.hosts):
            return _refuse(421, "This host name is not the studio's: open the address that limner studio printed.")
        origin = headers.get("origin")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return _refuse(403, "Pages of other sites may not use the studio.")
        opens_page = scope["method"] == "GET" and scope["path"] == "/" and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not opens_page:
            return _refuse(403, "Pages of other sites may not use the studio.")
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length) > MAX_BODY:
            return _refuse(413, f"The request is larger than {MAX_BODY >> 20} MB.")
        return None

    def _admission(self, scope: Scope) -> Response | None:
        """The answer to who has no token, or opens the page with one; `None` for who may come in."""
        if self.token is None:
            return None
        headers = Headers(scope=scope)
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(bearer):
            return None
        if self._is_token(_cookie(headers)):
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and self._is_token(given):
            reply = RedirectResponse("/", status_code=303)
            reply.set_cookie(COOKIE, self.token, httponly=True, samesite="strict")
            return reply
        return _refuse(401, "The studio asks for a token: open the address with ?token=... that limner studio printed.")

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), str(self.token).encode())


def _is_ours(host: str, hosts: frozenset[str]) -> bool:
    """Whether the `Host` header names this server. Only a name can be pointed here by somebody else, no address."""
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    if name.lower() in hosts:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or "0.0.0.0" in hosts or "::" in hosts


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value


class _TooLargeError(Exception):
    pass


async def _read_body(receive: Receive) -> bytes | None:
    """The body of a request; `None` where the client left before its end."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise _TooLargeError
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read, and then waits for the client to leave."""
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return parts.pop() if parts else await receive()

    return replayed


def _refuse(status: int, sentence: str) -> Response:
    return JSONResponse({"error": sentence}, status)
