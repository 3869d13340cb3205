"""The server of an endpoint: its settings checked, and whether it is there and has the model."""

import json
from typing import Any

from pdrop_eval.run.config.endpoint import EndpointSpec
from pdrop_eval.utils.distributed import world_size
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.server.chat_server import ChatServer, ServerError, TemporaryError
from pdrop_eval.utils.server.server_settings import check_model_name, check_server, read_key
from pdrop_eval.utils.text.redact import redact_address, redact_all
from pdrop_eval.utils.validation import check_choice, check_whole

GROUP = "model"
_FIRST_REPLY = 10.0  # seconds until a server that says nothing at the start counts as not there
_MOST = 4 << 20  # bytes of an answer, with what a server tells beside it
_LONGEST_ENTRY = 2000  # characters of what it says of the model
_MOST_AT_ONCE = 1024
_OWN_FIELDS = ("model", "messages", "max_tokens", "temperature", "stop", "stream", "n")


def check_endpoint(spec: EndpointSpec) -> None:
    """Refuse settings of an endpoint that can't be right; the server isn't asked.

    Raises:
        UserError: With the setting, its value and what is allowed.
    """
    if spec.base_url is None or spec.served is None:
        raise UserError(
            "model=endpoint needs a server and the model's name there: "
            "model.base_url=http://localhost:8000/v1 model.served=<name>."
        )
    check_server(GROUP, spec)
    check_model_name("model.served", spec.served)
    if not spec.name.strip():
        raise UserError("model.name= is empty. Give the label of the run's rows, such as model.name=vllm.")
    check_whole("model.max_new_tokens", spec.max_new_tokens, 1)
    check_whole("model.concurrency", spec.concurrency, 1)
    if spec.concurrency > _MOST_AT_ONCE:
        raise UserError(f"model.concurrency={spec.concurrency} is not allowed: at most {_MOST_AT_ONCE}.")
    check_whole("model.give_up", spec.give_up, 1)
    _check_extra_body(spec.extra_body)
    if world_size() > 1:
        raise UserError(
            "model=endpoint is asked by one process: the server works on many questions at once. Start it "
            "without torchrun, and set model.concurrency."
        )


def make_server(spec: EndpointSpec) -> ChatServer:
    """Return the server of settings that were checked. Raises UserError without its key."""
    return ChatServer(
        f"The server of {spec.served}", str(spec.base_url),
        read_key(GROUP, f"model.served={spec.served}", spec.api_key_env), float(spec.timeout), spec.retries,
        GROUP, "served", most=_MOST,
    )  # fmt: skip


def ask_offer(server: ChatServer, spec: EndpointSpec) -> dict[str, Any]:
    """What a record says of the server: what it offers, by its own words.

    Returns:
        `base_url` without secrets, `served`, `offers` (the names of its models; None if it lists none), and
        `says` (its entry of the model).

    Raises:
        UserError: It can't be reached, refuses, or has no such model.
    """
    try:
        listed = server.models(_FIRST_REPLY)
    except TemporaryError as error:
        raise ServerError(
            f"{server.shown} can't be asked: {error}. Start it, wait until it has loaded the model, or "
            "correct model.base_url; the same command then goes on."
        ) from error
    said: dict[str, Any] = {"base_url": redact_address(server.base_url), "served": spec.served}
    if listed is None:
        return {**said, "offers": None, "says": None}
    offers = [server.named(str(entry["id"])) for entry in listed]
    check_choice("model.served", server.named(str(spec.served)), offers, "The server offers these.")
    entry = next(entry for entry in listed if entry["id"] == spec.served)
    text = server.without_secrets(json.dumps(entry, ensure_ascii=False))
    return {
        **said,
        "offers": offers,
        "says": redact_all(json.loads(text)) if len(text) <= _LONGEST_ENTRY else None,
    }


def _check_extra_body(extra: Any) -> None:
    if extra is None:
        return
    if not isinstance(extra, dict):
        raise UserError(
            f"model.extra_body={extra} is no list of fields: write "
            "model.extra_body={chat_template_kwargs:{enable_thinking:false}}."
        )
    taken = [name for name in extra if name in _OWN_FIELDS]
    if taken:
        raise UserError(
            f"model.extra_body can't have {', '.join(taken)}: the benchmarks decide "
            f"{', '.join(_OWN_FIELDS)}. Leave it out."
        )
