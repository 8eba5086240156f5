// A genserver server with one worker, in JavaScript: what docs/protocol.md asks of a producer.
//
//     node producer.mjs PORT ELEMENTS [BROKEN]
//
// PORT is the supervisor's (the control endpoint), PORT + 1 the worker's (the data endpoint); both
// live in this one process. An element is (float32[8,8], int64[]). With BROKEN the generator raises
// at that element. Not here, because a producer may do without: shared memory, several workers,
// texts, and elements whose shapes differ.

import { hostname } from "node:os";
import { Kind, MAJOR, MINOR, Port } from "./port.mjs";
import { Worker } from "./worker.mjs";

const PIXELS = 8 * 8;

/** What is served: `total` elements a pass, made in any order and by any number of workers. */
function makeSource(total, broken) {
  return {
    total,
    spec: ["tuple", "", ["0", "1"], [["array", "float32", [8, 8]], ["array", "int64", []]]],
    shapes: [[8, 8], []],
    bytes: 4 * PIXELS + 8,
    /** Room for so many elements: one array per leaf of the spec, in flattening order. */
    columns: (rows) => [new Float32Array(rows * PIXELS), new BigInt64Array(rows)],
    /** Write element `number` of pass `epoch` to place `row`. */
    write(number, epoch, [pictures, labels], row) {
      if (number === broken) throw new RangeError(`element ${number} is broken`);
      for (let p = 0; p < PIXELS; p++) {
        pictures[row * PIXELS + p] = (number * PIXELS + p + epoch) % 251;
      }
      labels[row] = BigInt(number);
    },
  };
}

/** The control endpoint: says what is served, and where the workers are. */
class Supervisor extends Port {
  constructor(status) {
    super();
    this.status = status;
  }

  greet(link) {
    this.say(link, { k: Kind.WELCOME, v: MAJOR, w: MINOR, f: [], i: this.incarnation });
    this.say(link, { k: Kind.STATUS, ...this.status }); // it never changes here
  }

  act() {} // BEAT and GOAWAY need no answer
}

function statusOf(source, dataPort) {
  return {
    st: "ready", g: "producer.mjs", sh: "static", sd: 0, ca: source.total, h: hostname(),
    sp: source.spec,
    // index, state, pid, ipc path, tcp port, cause, life, lost
    ws: [[0, "ready", process.pid, "", dataPort, "", 0, 0]],
    rc: "seek", // another life of this process makes the same elements, from `start` on
  };
}

const [port, total, broken = -1] = process.argv.slice(2).map(Number);
const valid = [port, total, broken].every(Number.isInteger);
if (!valid || port < 1 || port > 65534 || total < 0 || total >= 2 ** 31) {
  console.error("usage: node producer.mjs PORT ELEMENTS [BROKEN]");
  process.exit(2);
}

const source = makeSource(total, broken);
const worker = new Worker(source);
const supervisor = new Supervisor(statusOf(source, port + 1));
await worker.listen(port + 1);
await supervisor.listen(port); // last: whoever hears of the worker finds it
worker.serve();
supervisor.serve();
console.log(`ready at tcp://127.0.0.1:${port}`);

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => [supervisor, worker].forEach((end) => end.leave(`${signal} came`)));
}
