"""The code stream: exact after every packet, small, and alive after loss and damage."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatar3d.animation import expression_tour
from avatar3d.animation.codec import (
    COEFFICIENT_LEVELS,
    CodeDecoder,
    CodeEncoder,
    Counter,
    bits_per_second,
    count_motion,
    dequantise,
    learned_contexts,
    load_contexts,
    quantise,
)
from avatar3d.animation.stream import (
    UdpReceiver,
    UdpSender,
    WebSocketReceiver,
    WebSocketSender,
)
from avatar3d.codes import ExpressionCode
from avatar3d.errors import UserError
from avatar3d.geometry import quaternion_to_matrix, rotation_vector_to_quaternion


def random_codes(seed: int, frames: int = 12, extra: int = 0) -> ExpressionCode:
    """Codes that jump about: everything but smooth."""
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((frames, 52 + extra)) < 0.5, rng.random((frames, 52 + extra)), 0.0)
    turn = torch.from_numpy(rng.normal(0, 0.7, (2, frames, 3))).float()
    return ExpressionCode(
        torch.from_numpy(values).float(),
        rotation_vector_to_quaternion(turn[0]),
        torch.from_numpy(rng.normal(0, 0.2, (frames, 3))).float(),
        rotation_vector_to_quaternion(turn[1]),
    )


def far(a: ExpressionCode, b: ExpressionCode) -> tuple[float, float]:
    """Greatest difference of a coefficient, and of a rotation's matrix."""
    turned = max(
        float((quaternion_to_matrix(x) - quaternion_to_matrix(y)).abs().max())
        for x, y in ((a.head_rotation, b.head_rotation), (a.neck_rotation, b.neck_rotation))
    )
    return float((a.coefficients - b.coefficients).abs().max()), turned


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3), st.integers(1, 7))
def test_every_code_arrives_within_the_stated_error(seed: int, extra: int, key_every: int) -> None:
    codes = random_codes(seed, extra=extra)
    encoder, decoder = CodeEncoder(25.0, key_every), CodeDecoder()
    for index in range(len(codes.coefficients)):
        code = codes.at(index)
        (received,) = decoder.decode(encoder.encode(code))
        assert received.exact
        coefficient, turned = far(received.code, code)
        assert coefficient < 0.01
        assert turned < 0.02
        assert (received.code.head_translation - code.head_translation).abs().max() < 1.1e-3
    assert decoder.frames_per_second == 25.0


def test_the_rate_is_small_where_codes_are_smooth() -> None:
    codes = expression_tour(30.0, ("smile", "anger", "kiss")).codes
    encoder = CodeEncoder(30.0)
    packets = [encoder.encode(codes.at(index)) for index in range(len(codes.coefficients))]
    assert bits_per_second(packets, 30.0) < 3000
    still = CodeEncoder(30.0)
    same = [still.encode(codes.at(0)) for _ in range(60)]
    assert bits_per_second(same, 30.0) < 1000


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_lost_packets_are_concealed_until_the_next_key(seed: int) -> None:
    codes = expression_tour(30.0, ("smile", "surprise")).codes
    rng = np.random.default_rng(seed)
    encoder, decoder = CodeEncoder(30.0, key_every=15), CodeDecoder()
    shown: list[ExpressionCode] = []
    for index in range(len(codes.coefficients)):
        packet = encoder.encode(codes.at(index))
        if index and rng.random() < 0.2:
            continue
        received = decoder.decode(packet)
        shown += [each.code for each in received]
        assert received[-1].exact or not packet[0] & 0x80
        if received[-1].exact:
            assert far(received[-1].code, codes.at(index))[0] < 0.01
        assert float(received[-1].code.coefficients.max()) <= 1.0
        # As many codes as frames: nothing runs ahead or behind.
        assert len(shown) == index + 1
    off = torch.stack([c.coefficients for c in shown]) - codes.coefficients[: len(shown)]
    assert float(off.abs().mean()) < 0.02
    assert decoder.lost > 0 or len(shown) == len(codes.coefficients)


def test_late_doubled_and_first_packets() -> None:
    codes = random_codes(1, 6)
    encoder = CodeEncoder()
    packets = [encoder.encode(codes.at(index)) for index in range(6)]
    decoder = CodeDecoder()
    assert decoder.decode(packets[2]) == []  # before any key packet
    decoder.decode(packets[0])
    assert len(decoder.decode(packets[3])) == 3  # two were lost
    assert decoder.decode(packets[2]) == []  # late
    assert len(decoder.decode(packets[4])) == 1
    assert decoder.decode(packets[4]) == []  # twice
    assert len(decoder.decode(packets[5])) == 1
    # A sender that begins again is followed at once.
    again = CodeEncoder()
    assert decoder.decode(again.encode(codes.at(0))) == []  # it may have been overtaken
    assert decoder.decode(again.encode(codes.at(1)))[-1].exact


@settings(max_examples=15, deadline=None)
@given(st.binary(max_size=80), st.integers(0, 79))
def test_damaged_packets_never_break_a_decoder(noise: bytes, at: int) -> None:
    codes = random_codes(2, 3)
    encoder, decoder = CodeEncoder(), CodeDecoder()
    first = encoder.encode(codes.at(0))
    decoder.decode(first)
    damaged = bytearray(encoder.encode(codes.at(1)))
    damaged[at % len(damaged)] ^= 0x55
    for packet in (noise, bytes(damaged), first[: at % len(first)]):
        for received in decoder.decode(packet):
            assert all(value.isfinite().all() for value in received.code)
    again = CodeEncoder()
    last = [decoder.decode(again.encode(codes.at(2))) for _ in range(2)][-1]
    assert last[-1].exact


def test_numbers_stand_for_themselves() -> None:
    levels = np.arange(61, dtype=np.int64) % (COEFFICIENT_LEVELS + 1)
    levels[-9:] = [100, -200, 50, 0, -300, 12, 3, 60, -90]
    again = quantise(dequantise(levels))
    assert np.abs(again - levels).max() <= 1  # rotation vectors lose a little in float32
    np.testing.assert_array_equal(again[:52], levels[:52])
    broken = ExpressionCode.neutral()
    broken.coefficients[3] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        quantise(broken)


def test_probabilities_that_are_learned_pay_off() -> None:
    codes = expression_tour(30.0, ("smile", "surprise")).codes
    counter = Counter()
    count_motion(counter, codes)
    own = learned_contexts(counter)

    def size(contexts: object) -> int:
        encoder = CodeEncoder(contexts=contexts)  # type: ignore[arg-type]
        return sum(len(encoder.encode(codes.at(i))) for i in range(len(codes.coefficients)))

    assert size(own) < size(load_contexts())
    for table in (*own, *load_contexts()):
        assert table.min() > 0
        assert table.max() < 4096


def test_a_stream_has_a_rate() -> None:
    with pytest.raises(UserError, match="1 to 255"):
        CodeEncoder(0.2)


@pytest.mark.parametrize("kind", ["udp", "websocket"])
def test_codes_travel(kind: str) -> None:
    codes = random_codes(4, 5)
    if kind == "websocket":
        pytest.importorskip("websockets")
        receiver = WebSocketReceiver()
        sender = WebSocketSender(f"ws://127.0.0.1:{receiver.port}")
    else:
        receiver = UdpReceiver(0)
        sender = UdpSender("127.0.0.1", receiver.port)
    with receiver, sender:
        for index in range(5):
            sender.send(codes.at(index))
            received = receiver.receive(timeout_s=5.0)
            assert received is not None
            assert far(received.code, codes.at(index))[0] < 0.01
        assert receiver.receive(timeout_s=0.01) is None


def test_a_taken_port_and_an_absent_receiver_are_sentences() -> None:
    with (
        UdpReceiver(0) as receiver,
        pytest.raises(UserError, match=f"UDP port {receiver.port} cannot"),
    ):
        UdpReceiver(receiver.port)
    pytest.importorskip("websockets")
    with pytest.raises(UserError, match="nobody answers"):
        WebSocketSender("ws://127.0.0.1:9")
