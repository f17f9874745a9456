"""An Argilla server for trying annotation out on this machine: `make argilla`."""

import argparse
import shlex
import sys
import time
from pathlib import Path

from tests.harness.argilla.server import ROOT, ArgillaServer, InUse, free_port, missing, password_of


def main() -> int:
    parser = argparse.ArgumentParser(prog="make argilla", description="An Argilla server for trying annotation out.")
    parser.add_argument("--home", type=Path, default=ROOT / "data" / "argilla", help="where users, tasks and labels are kept (%(default)s)")
    parser.add_argument("--port", type=int, default=6900, help="on 127.0.0.1; another one is taken when it is in use (%(default)s)")
    parser.add_argument("--annotator", action="append", default=[], metavar="NAME", help="a user who may answer, made if missing")
    parser.add_argument("--show-key", action="store_true", help="print the owner's API key")
    given = parser.parse_args()
    if reason := missing():
        print(reason, file=sys.stderr)
        return 2
    server = ArgillaServer(given.home, free_port(given.port))
    try:
        print("argilla-server is starting …", flush=True)
        server.start()
        tell(server, given.annotator, given.show_key)
        while server.running:
            time.sleep(0.5)
        print(f"argilla-server has ended by itself; its log is {shown(server.log)}", file=sys.stderr)
        return 1
    except InUse as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopping …", flush=True)
        return 0
    finally:
        server.stop()


def tell(server: ArgillaServer, annotators: list[str], show_key: bool) -> None:
    key, password = server.home / "api-key", server.home / "password"
    print(f"""
  page       {server.url}
  user       owner, with the password in {shown(password)}""")
    for name in annotators:
        server.add_annotator(name)
        print(f"  user       {name}, with the password {password_of(name)}")
    print(f"""  data       {shown(server.home)} (delete it to begin anew)
  log        {shown(server.log)}

  export ARGILLA_API_URL={server.url}
  export ARGILLA_API_KEY={server.api_key if show_key else f"$(cat {shlex.quote(shown(key))})"}

Its search engine is a stand-in for tests and for trying things out: keep real work on a server with Elasticsearch.
Ctrl-C stops it.""", flush=True)  # fmt: skip


def shown(place: Path) -> str:
    """As a user of this folder writes it."""
    return str(place.relative_to(Path.cwd())) if place.is_relative_to(Path.cwd()) else str(place)


if __name__ == "__main__":
    sys.exit(main())
