"""Outbound calls by aiohttp: what is its alone. What every client does is in test_clients."""

import asyncio
import gc

import aiohttp
import pytest
from aiohttp import web

import obskit
from instrumentation.outbound import BODY
from obskit import testing
from obskit.operation import Operation


@pytest.fixture
def captured():
    with testing.capture() as captured:
        yield captured


def attribute(captured, name):
    return [span.attributes.get(name) for span in captured.spans if span.kind.name == "CLIENT"]


async def in_parts(call):
    async with call as answer:
        async for _ in answer.content.iter_any():
            pass


async def test_the_total_timeout_is_an_error_wherever_it_strikes(url, captured):
    class Slow(aiohttp.TCPConnector):
        async def connect(self, *args, **kwargs):
            await asyncio.sleep(20)

    limit = aiohttp.ClientTimeout(total=0.05)
    async with aiohttp.ClientSession(connector=Slow()) as session:
        with pytest.raises(TimeoutError):  # while it connects
            await session.get(f"{url}/ok", timeout=limit)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(TimeoutError):  # while it waits for the answer
            await session.get(f"{url}/silent", timeout=limit)
        with pytest.raises(TimeoutError):  # while it reads the body
            await (await session.get(f"{url}/half", timeout=aiohttp.ClientTimeout(total=0.3))).read()
        with pytest.raises(TimeoutError):
            await in_parts(session.get(f"{url}/half", timeout=aiohttp.ClientTimeout(total=0.3)))
    assert attribute(captured, "error.type") == ["TimeoutError"] * 4


async def test_a_body_that_breaks_off_while_it_is_read_in_parts(url, captured):
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientPayloadError):
            await in_parts(session.get(f"{url}/cut"))
    assert attribute(captured, "error.type") == ["aiohttp.client_exceptions.ClientPayloadError"]


async def test_an_application_that_leaves_the_body_by_an_error_of_its_own_is_no_failed_call(url, captured):
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ZeroDivisionError):
            async with session.get(f"{url}/half"):
                1 / 0  # noqa: B018
    assert attribute(captured, "outcome") == ["ok"]


async def test_a_task_cancelled_in_the_middle_of_a_body(url, captured):
    begun = asyncio.Event()

    async def read():
        async with aiohttp.ClientSession() as session, session.get(f"{url}/half") as answer:
            begun.set()
            async for _ in answer.content.iter_any():
                pass

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert attribute(captured, "outcome") == ["cancelled"]


async def test_a_status_that_raises_is_the_status(url, captured):
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        with pytest.raises(aiohttp.ClientResponseError):
            await session.get(f"{url}/missing")
    assert attribute(captured, "error.type") == ["404"]


async def test_what_a_middleware_sends_again_counts_up(url, server, captured):
    async def twice(request, handler):
        answer = await handler(request)
        if answer.status == 503:
            answer.release()
            answer = await handler(request)
        return answer

    async with aiohttp.ClientSession(middlewares=(twice,)) as session, session.get(f"{url}/flaky") as answer:
        assert answer.status == 200
    assert attribute(captured, "http.response.status_code") == [503, 200]
    assert attribute(captured, "http.request.resend_count") == [None, 1]


async def test_a_middleware_that_answers_itself_makes_no_call(url, captured):
    async def no(request, handler):
        raise NotImplementedError

    async with aiohttp.ClientSession() as session:
        with pytest.raises(NotImplementedError):
            await session.get(f"{url}/ok", middlewares=(no,))
    assert captured.spans == []


async def test_a_middleware_that_makes_good_a_failure(url, captured):
    async def elsewhere(request, handler):
        try:
            return await handler(request)
        except aiohttp.ClientError:
            return await other.get(f"{url}/ok")

    async with (
        aiohttp.ClientSession() as other,
        aiohttp.ClientSession(middlewares=(elsewhere,)) as session,
        session.post(f"{url}/dropped") as answer,
    ):
        assert await answer.read() == BODY
    assert set(attribute(captured, "error.type")) == {None, "aiohttp.client_exceptions.ServerDisconnectedError"}


async def test_a_middleware_that_makes_another_exception_of_it(url, captured):
    async def by_name(request, handler):
        try:
            return await handler(request)
        except aiohttp.ClientError as error:
            raise LookupError from error

    async with aiohttp.ClientSession(middlewares=(by_name,)) as session:
        with pytest.raises(LookupError):
            await session.post(f"{url}/dropped")
    assert attribute(captured, "error.type") == ["LookupError"]


async def test_a_connection_that_had_been_closed_is_tried_again(url, server, captured):
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.get(f"{url}/dropped")
    assert attribute(captured, "http.request.resend_count") == [None, 1]
    assert attribute(captured, "error.type") == ["aiohttp.client_exceptions.ServerDisconnectedError"] * 2


async def test_a_class_of_answers_of_the_applications_own_stays_one(url, captured):
    class Mine(aiohttp.ClientResponse):
        def shout(self):
            return self.reason.upper()

    async with aiohttp.ClientSession(response_class=Mine) as session, session.get(f"{url}/ok") as answer:
        assert isinstance(answer, Mine)
        assert answer.shout() == "OK"
        assert await answer.read() == BODY
    async with aiohttp.ClientSession() as session, session.get(f"{url}/half") as answer:
        assert isinstance(answer, aiohttp.ClientResponse)
        assert type(answer).__name__ == "ClientResponse"
    assert len(captured.spans) == 2


async def test_a_websocket_is_one_call_until_it_is_open(captured):
    async def echo(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    app = web.Application()
    app.router.add_get("/ws", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    async with aiohttp.ClientSession() as session, session.ws_connect(f"ws://127.0.0.1:{port}/ws") as socket:
        assert attribute(captured, "http.response.status_code") == [101]
        await socket.send_str("hello")
        assert await socket.receive_str() == "hello"
    await runner.cleanup()
    assert attribute(captured, "outcome") == ["ok"]


TIMEOUTS = {
    "the default": ({}, {}, True),
    "the session's": ({"timeout": aiohttp.ClientTimeout(total=None)}, {}, False),
    "the call's beats the session's": (
        {"timeout": aiohttp.ClientTimeout(total=None)},
        {"timeout": aiohttp.ClientTimeout(total=5)},
        True,
    ),
    "the call's None": ({}, {"timeout": None}, False),
    "one of them": ({"timeout": aiohttp.ClientTimeout(total=None, sock_read=5)}, {}, True),
}


@pytest.mark.parametrize(("of_session", "of_call", "bounded"), TIMEOUTS.values(), ids=TIMEOUTS)
async def test_what_counts_as_a_timeout(of_session, of_call, bounded, url, captured):
    async with aiohttp.ClientSession(**of_session) as session, session.get(f"{url}/ok", **of_call) as answer:
        await answer.read()
    assert captured.metric("obskit_http_client_calls_without_timeout_total") == (not bounded)


async def test_a_call_in_a_task_of_its_own_has_no_place(url, captured):
    limit = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=limit) as session:
        answer = await asyncio.create_task(session.get(f"{url}/ok")._coro)
        await answer.read()
    [line] = [line for line in captured.lines if line["logger"] == "obskit.clients"]
    assert "made in a task" in line["message"]


async def test_nothing_is_left_of_many_calls(url):
    with testing.capture(config=obskit.Config(sampler="always_off")):
        async with aiohttp.ClientSession() as session:
            for n in range(200):
                if n == 100:
                    gc.collect()
                    before = sum(type(each) is Operation for each in gc.get_objects())
                async with session.get(f"{url}/ok") as answer:
                    await answer.read()
            gc.collect()
            after = sum(type(each) is Operation for each in gc.get_objects())
    assert after == before
