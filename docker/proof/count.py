"""The proof's trainer: counts what every epoch brings, until enough of them had all producers.

Prints a line of JSON for the middle and the end of each epoch. It has PRODUCERS producers to find,
EPOCHS epochs to see with all of them, and the numbers below COUNT to get once in each.
"""

import json
import os
import sys
from collections import Counter

from genserver.client import from_server

COUNT, PRODUCERS, EPOCHS = (int(os.environ[name]) for name in ("COUNT", "PRODUCERS", "EPOCHS"))
MOST = 60  # epochs


def main() -> int:
    dataset = from_server(os.environ["GENSERVER_ENDPOINT"], wait=True, seed=1)
    seen_all = 0
    for epoch in range(1, MOST + 1):
        numbers, hosts = Counter[int](), Counter[str]()
        for number, _, host in dataset:
            numbers[int(number)] += 1
            hosts[host.numpy().decode()] += 1
            if numbers.total() == COUNT // 2:
                say(half=epoch, hosts=sorted(hosts))
        exact = numbers == Counter(range(COUNT))
        say(epoch=epoch, elements=numbers.total(), exact=exact, hosts=sorted(hosts))
        if not exact:
            return 1
        seen_all += len(hosts) >= PRODUCERS
        if seen_all == EPOCHS:
            return 0
    return 1


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    sys.exit(main())
