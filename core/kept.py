"""Answers that are kept while one request is answered, one task worked or one file written."""

from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps

_answers = ContextVar("answers", default=None)  # {name of the function: what it gave}; None outside


@contextmanager
def keeping(**answers):
    """Within, each function that is `kept` is asked once, further out or here.

    answers: {name of a function: what it gives}.

    Tests without a database say that of the settings: `keeping(organisation=Settings())`.
    """
    token = _answers.set({**(_answers.get() or {}), **answers})
    try:
        yield
    finally:
        _answers.reset(token)


def kept(function):
    """Keep what a function without arguments gives, within `keeping`; `forget()` asks it anew."""

    @wraps(function)
    def wrapper():
        answers = _answers.get()
        if answers is None:
            return function()
        if name not in answers:
            answers[name] = function()
        return answers[name]

    name = function.__name__
    wrapper.forget = lambda: (_answers.get() or {}).pop(name, None)
    return wrapper
