"""`eachlabs-frames sandbox`: runs the local sandbox in the foreground."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..sandbox import Options, serve
from .exit_codes import DONE
from .signals import Signals


def run(args: argparse.Namespace, _signals: Signals) -> int:
    """Run the sandbox until a signal arrives."""
    # The sandbox keeps executions in memory only, so its runs are worthless afterwards: use a temporary journal.
    with tempfile.TemporaryDirectory(prefix="eachlabs-sandbox-", ignore_cleanup_errors=True) as folder:
        return _serve(args, Path(folder) / "journal.sqlite")


def _serve(args: argparse.Namespace, journal: Path) -> int:
    def ready(running: Any) -> None:
        print(f"The sandbox is listening at {running.base_url}. Press Ctrl-C to stop it. To use it:\n")
        print(f"    export EACHLABS_BASE_URL={running.base_url}")
        print(f"    export EACHLABS_API_KEY={running.api_key}")
        print(f"    export EACHLABS_JOURNAL={journal}", flush=True)

    names = ["seed", "latency", "failure_rate", "queue_seconds", "account_cap", "trigger_rate", "balance_usd"]
    try:
        options = Options(run_seconds=tuple(args.run_seconds), **{name: getattr(args, name) for name in names})
        serve(args.port, ready=ready, dialect=args.dialect, options=options)
    except BrokenPipeError:
        raise
    except OSError as exc:
        msg = f"port {args.port} cannot be used: {exc.strerror}; --port 0 chooses a free port"
        raise UsageError(msg) from exc
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    return DONE
