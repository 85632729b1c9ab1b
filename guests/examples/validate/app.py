"""Validates payments, and sorts out those that can't be made. Contract 2, `wasi:messaging/incoming-handler`, in Python.

A payment is a JSON object such as {"id": "p-1", "amount": "12.50", "currency": "eur", "iban": "DE89 3704 0044 0532 0130 00"}.

- One that is right goes on to `payments.valid`, in one form: spaces gone, letters in capitals, two decimals.
- One that is wrong goes as it came to `payments.rejected`, with a header `reason` for each thing that is wrong with it: for people
  who can put it right.
- What is no JSON object at all nobody can put right. The call fails, so the host tries again as often as its handler may, and then
  sends it to the handler's dead-letter subject.

Whatever else this code stumbles over fails its call too: nothing is lost, and nothing is let through.
"""

import json
import re
from decimal import Decimal, InvalidOperation

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import producer
from wit_world.imports.types import Client, Error_Other, Message

CURRENCIES = {"EUR", "GBP", "CHF"}
AMOUNT_MAX = Decimal("1000000")


class IncomingHandler(exports.IncomingHandler):
    """What the host calls: one message a call."""

    def handle(self, message: Message) -> None:
        payment = read(message.data())
        reasons = [reason for check in CHECKS if (reason := check(payment))]
        with Client.connect("default") as client:
            if reasons:
                for_people = Message(message.data())
                for_people.set_metadata([("reason", reason) for reason in reasons])
                producer.send(client, "payments.rejected", for_people)
            else:
                producer.send(client, "payments.valid", Message(in_one_form(payment)))


def read(data: bytes) -> dict:
    """The payment that these bytes are."""
    try:
        payment = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Err(Error_Other(f"no JSON: {error}"))
    if not isinstance(payment, dict):
        raise Err(Error_Other(f"no JSON object, but {type(payment).__name__}"))
    return payment


def text(payment: dict, key: str) -> str:
    """A text without spaces, in capitals; empty if there is none."""
    value = payment.get(key)
    return re.sub(r"\s", "", value).upper() if isinstance(value, str) else ""


def amount(payment: dict) -> Decimal | None:
    """The amount, written as a text: a number of JSON would be rounded on its way."""
    try:
        return Decimal(text(payment, "amount"))
    except InvalidOperation:
        return None


def check_id(payment: dict) -> str | None:
    return None if text(payment, "id") else "id: there is none"


def check_amount(payment: dict) -> str | None:
    value = amount(payment)
    if value is None or not value.is_finite():
        return "amount: not a number in quotes"
    if not 0 < value <= AMOUNT_MAX:
        return f"amount: not above 0 and at most {AMOUNT_MAX}"
    return None if value.as_tuple().exponent >= -2 else "amount: more than two decimals"


def check_currency(payment: dict) -> str | None:
    return None if text(payment, "currency") in CURRENCIES else f"currency: none of {', '.join(sorted(CURRENCIES))}"


def check_iban(payment: dict) -> str | None:
    """ISO 13616: the first four characters moved to the end, letters as numbers from 10 on, the whole modulo 97 is 1."""
    iban = text(payment, "iban")
    if not re.fullmatch(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}", iban):
        return "iban: not of its form"
    number = "".join(str(int(character, 36)) for character in iban[4:] + iban[:4])
    return None if int(number) % 97 == 1 else "iban: its check digits are wrong"


CHECKS = [check_id, check_amount, check_currency, check_iban]


def in_one_form(payment: dict) -> bytes:
    """A payment that was checked, for machines."""
    fields = {key: text(payment, key) for key in ("id", "currency", "iban")}
    return json.dumps({**fields, "amount": f"{amount(payment):.2f}"}, sort_keys=True).encode()
