"""Lines of JSON on standard error: what was asked of which route, and how it ended; never what was sent.

No file names, no texts, no pictures, no addresses, no query: a log may be kept longer, and read by more people, than a
patient's data may.
"""

import json
import logging
import traceback
from datetime import UTC, datetime
from typing import Any

log = logging.getLogger("dermis.serve")


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, message and the record's ``facts``.

    Of an error its type and the lines of code, not its words: they may quote what was sent.
    """

    def format(self, record: logging.LogRecord) -> str:
        now = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": now, "level": record.levelname.lower(), "message": record.getMessage()}
        line |= getattr(record, "facts", {})
        if record.exc_info and record.exc_info[0]:
            frames = traceback.extract_tb(record.exc_info[2])
            line["error"] = record.exc_info[0].__name__
            line["at"] = [f"{frame.name}:{frame.lineno}" for frame in frames][-8:]
        return json.dumps(line, ensure_ascii=False)


def logging_config() -> dict[str, Any]:
    """For uvicorn: its own messages and ours as JSON lines, and no log of addresses and queries."""
    plain = {"handlers": ["lines"], "level": "INFO", "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonLines}},
        "handlers": {"lines": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": "json"}},
        "loggers": {"uvicorn": plain, "uvicorn.error": plain, "dermis": plain},
        "root": {"handlers": ["lines"], "level": "WARNING"},
    }
