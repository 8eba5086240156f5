// One end of docs/protocol.md's links: headers, message numbers, beats and silence.
//
// A Port is a bound ROUTER with the links of its trainers. producer.mjs has the supervisor's,
// worker.mjs the worker's.

import { randomBytes } from "node:crypto";
import { decode, encode } from "@msgpack/msgpack";
import { Router } from "zeromq";

export const Kind = {
  HELLO: 1, WELCOME: 2, ERROR: 3, STATUS: 4, OPEN: 5, GRANT: 6, ITEM: 7, END: 8, END_ACK: 9,
  FAIL: 10, BEAT: 11, CLOSE: 12, GOAWAY: 13,
};
// What a trainer may send once it was welcomed, and the numbers that the header must then have.
const FROM_TRAINER = {
  [Kind.OPEN]: ["s", "i", "n", "e", "b"], [Kind.GRANT]: ["s", "n", "b", "a"],
  [Kind.END_ACK]: ["s"], [Kind.CLOSE]: ["s"], [Kind.BEAT]: [], [Kind.GOAWAY]: [],
};
export const MAJOR = 1, MINOR = 0;
const MAGIC = "genserver";
const MAX_HEADER = 64 * 1024, MAX_TEXT = 4096;
// Milliseconds: how often the clock is looked at, and what the protocol says about silence.
export const BEAT_EVERY = 1000;
const TICK = 250, DEAD_AFTER = 15_000;

/** What a trainer may not do; the text goes back to it. */
export class Breach extends Error {}

/** 64-bit integers are read as BigInt: a session is a number that a double cannot hold. */
function readHeader(frames) {
  if (frames.length !== 1) throw new Breach("a trainer sends no payload");
  if (frames[0].length > MAX_HEADER) throw new Breach("header: too long");
  let header;
  try {
    header = decode(frames[0], { useBigInt64: true });
  } catch {
    throw new Breach("header: not ours");
  }
  if (!isCount(header?.k) || !isCount(header.l)) {
    throw new Breach("header: no kind or no message number");
  }
  return { ...header, k: Number(header.k) };
}

function isCount(value) {
  return typeof value === "bigint" ? value >= 0n : Number.isInteger(value) && value >= 0;
}

/** Counts are what most keys hold; the others are looked at where they are used. */
export function checkKeys(header, keys) {
  const wrong = keys.find((key) => !isCount(header[key]));
  if (wrong) throw new Breach(`header: ${wrong} is missing or no count`);
}

/** A text that fits a header together with others. */
export const brief = (text) => String(text).slice(0, MAX_TEXT);

/** One trainer on one socket: message numbers in both directions, beats and silence. */
class Link {
  nextIn = 0;
  nextOut = 0;
  heard = performance.now();
  said = performance.now();
  state = "new"; // then ready; in refused, gone and lost all that still comes is ignored
  session = null;

  constructor(peer) {
    this.peer = peer;
  }
}

/** A bound ROUTER and its links. Subclasses say what a trainer hears (greet) and may do (act). */
export class Port {
  // Without high-water marks, because credit bounds what waits here. And no send waits: a mandatory
  // ROUTER without any peer would let it wait until one comes.
  socket = new Router({
    mandatory: true, sendHighWaterMark: 0, receiveHighWaterMark: 0, sendTimeout: 0, linger: 1000,
  });
  links = new Map(); // by routing id
  incarnation = randomBytes(8).readBigUInt64BE(); // the 64 random bits of this life

  async listen(port) {
    await this.socket.bind(`tcp://127.0.0.1:${port}`);
    this.timer = setInterval(() => this.tick(performance.now()), TICK);
  }

  async serve() {
    for await (const [peer, ...frames] of this.socket) {
      try {
        this.receive(peer, readHeader(frames));
      } catch (error) {
        if (!(error instanceof Breach)) throw error;
        this.refuse(peer, error.message);
      }
    }
  }

  receive(peer, header) {
    let link = this.links.get(peer.toString("hex"));
    if (!link) {
      if (header.k !== Kind.HELLO) throw new Breach("the first message must be HELLO");
      link = new Link(peer);
      this.links.set(peer.toString("hex"), link);
    }
    if (header.l < link.nextIn) throw new Breach(`message number ${header.l} came twice`);
    // A gap: something is lost. Nothing is said; whatever comes next is a stranger's.
    if (header.l > link.nextIn) return this.part(link);
    link.nextIn++;
    link.heard = performance.now();
    if (link.state === "new") return this.hello(link, header);
    if (link.state !== "ready") return;
    if (!(header.k in FROM_TRAINER)) throw new Breach(`kind ${header.k} may not come now`);
    checkKeys(header, FROM_TRAINER[header.k]);
    if (header.k === Kind.GOAWAY) link.state = "gone";
    this.act(link, header);
  }

  hello(link, header) {
    if (header.m !== MAGIC || Number(header.v) !== MAJOR) {
      const text = `this server speaks protocol ${MAJOR}, the trainer ${header.v}`;
      return this.refuseLink(link, "version", text);
    }
    checkKeys(header, ["t", "e"]);
    if (!Array.isArray(header.o) || !header.o.every(isCount)) throw new Breach("header: o");
    link.state = "ready";
    this.greet(link, header);
  }

  /** Number a message and send it. */
  say(link, message, payload = []) {
    if (link.state !== "new" && link.state !== "ready") return; // a new link hears it
    link.said = performance.now();
    const header = encode({ ...message, l: link.nextOut++ }, { useBigInt64: true });
    this.send([link.peer, header, ...payload], () => this.part(link));
  }

  /** ROUTER_MANDATORY tells when a peer's connection is gone; its streams wait for a new link. */
  send(frames, unroutable = () => {}) {
    this.socket.send(frames).catch(unroutable);
  }

  refuse(peer, text) {
    const link = this.links.get(peer.toString("hex"));
    // A stranger is told so with number 0 and outside of any link: it makes a new socket at once.
    if (link) this.refuseLink(link, "protocol", text);
    else this.send([peer, encode({ k: Kind.ERROR, l: 0, c: "stranger", x: text })]);
  }

  refuseLink(link, code, text) {
    this.say(link, { k: Kind.ERROR, c: code, x: brief(text) });
    link.state = "refused";
  }

  part(link) {
    link.state = "lost";
    this.links.delete(link.peer.toString("hex"));
  }

  tick(now) {
    for (const link of this.links.values()) {
      if (now - link.heard >= DEAD_AFTER) this.part(link);
      else if (link.state === "ready") this.idle(link, now);
    }
  }

  idle(link, now) {
    if (now - link.said >= BEAT_EVERY) this.say(link, { k: Kind.BEAT });
  }

  /** Say goodbye and close, which lets the process end when the goodbyes are out. */
  leave(reason) {
    for (const link of this.links.values()) {
      this.say(link, { k: Kind.GOAWAY, x: reason });
      link.state = "gone";
    }
    clearInterval(this.timer);
    this.socket.close();
  }
}
