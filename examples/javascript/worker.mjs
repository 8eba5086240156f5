// The worker's end of docs/protocol.md: sessions, streams, credit, replay.

import { BEAT_EVERY, Breach, Kind, MAJOR, MINOR, Port, brief, checkKeys } from "./port.mjs";

const MAX_STREAMS = 8;
const FORGOTTEN_AFTER = 120_000; // milliseconds of silence
const CHUNK = 64; // elements of a chunk at most; where chunks are cut is the worker's choice

/** What outlives a link: a trainer's streams, kept by its session. */
class Session {
  fence = -1n;
  link = null;
  streams = new Map(); // by the text of their id, which may be a number or a BigInt
}

/** One pass over this worker's share of the generator, for one trainer. */
class Stream {
  kept = []; // chunks that the trainer has not acknowledged: {first, n, nbytes, arrays, frames}
  final = null; // END or FAIL, once the generator is done
  link = null; // the link that OPEN came on; a stream of a lost link waits for the next OPEN
  elements = 0; // GRANT's limits
  nbytes = 0;
  sentBytes = 0; // since this link's OPEN

  constructor(opening, source) {
    this.source = source;
    this.id = opening.s;
    this.key = String(opening.s);
    this.index = Number(opening.i);
    this.count = Number(opening.n);
    this.epoch = Number(opening.e);
    this.batch = Number(opening.z ?? 0);
    this.next = Number(opening.b); // the first element of the next chunk
    // "static": workers share a pass, and worker i of n makes elements i, i + n, i + 2n ...
    this.rows = Math.max(0, Math.ceil((source.total - this.index) / this.count));
    const size = Math.max(1, this.batch);
    this.length = opening.d === true ? Math.floor(this.rows / size) : Math.ceil(this.rows / size);
  }

  /** The link is new: what was granted and sent over the old one does not count any more. */
  openOn(link) {
    this.link = link;
    this.elements = this.nbytes = this.sentBytes = 0;
  }

  /** May another element be begun? The last one may overshoot the bytes. */
  mayBegin(made, bytes) {
    return made < this.elements && made < this.length && bytes < this.nbytes;
  }

  /** The chunk from `next` on, as far as credit goes, or null. A batch is a chunk by itself. */
  makeChunk() {
    const size = Math.max(1, this.batch), most = this.batch ? 1 : CHUNK;
    let n = 0, rows = 0;
    while (n < most && this.mayBegin(this.next + n, this.sentBytes + rows * this.source.bytes)) {
      rows += Math.min(size, this.rows - (this.next + n++) * size);
    }
    if (n === 0) return null;
    const { columns, made } = this.makeRows(this.next * size, rows);
    const lead = this.batch ? [1, made] : [made];
    // Form 0, a raw frame, is right for every size; riding along in the header is an option.
    const arrays = this.source.shapes.map((shape) => [0, [...lead, ...shape]]);
    const frames = columns.map((column) => frameOf(column, rows, made));
    return { first: this.next, n: lead[0], nbytes: made * this.source.bytes, arrays, frames };
  }

  /** The generator's elements from `first` on. If one raises, those before it are still sent. */
  makeRows(first, rows) {
    const columns = this.source.columns(rows);
    let own = first; // the generator's own count, also in a stream of batches
    try {
      for (; own < first + rows; own++) {
        this.source.write(this.index + own * this.count, this.epoch, columns, own - first);
      }
    } catch (error) {
      if (own === first || this.batch) throw new Raised(own, error);
    }
    return { columns, made: own - first };
  }
}

/** The generator raised; `own` says at which of its elements. */
class Raised extends Error {
  constructor(own, error) {
    super(error.message);
    Object.assign(this, { own, error });
  }
}

/** What was made of a column, as a raw frame. Typed arrays are little-endian wherever Node runs. */
function frameOf(column, rows, made) {
  return Buffer.from(column.buffer, 0, (column.byteLength / rows) * made);
}

export class Worker extends Port {
  sessions = new Map();

  /** See producer.mjs for what a source has. */
  constructor(source) {
    super();
    this.source = source;
  }

  greet(link, hello) {
    const token = String(hello.t);
    const session = this.sessions.get(token) ?? new Session();
    this.sessions.set(token, session);
    if (BigInt(hello.e) <= session.fence) {
      return this.refuseLink(link, "protocol", "superseded by a newer link");
    }
    session.fence = BigInt(hello.e);
    session.link = link;
    link.session = session;
    const wanted = new Set(hello.o.map(String));
    for (const key of session.streams.keys()) if (!wanted.has(key)) session.streams.delete(key);
    for (const stream of session.streams.values()) stream.link = null;
    const held = hello.o.filter((id) => session.streams.has(String(id)));
    this.say(link, { k: Kind.WELCOME, v: MAJOR, w: MINOR, f: [], i: this.incarnation, o: held });
  }

  act(link, header) {
    const session = link.session;
    if (session.link !== link) return; // superseded by a newer link of its session
    if (header.k === Kind.GOAWAY) return this.forget(session);
    if (header.k === Kind.OPEN) return this.open(session, link, header);
    const stream = session.streams.get(String(header.s));
    if (!stream) return; // it crossed with our END or ERROR
    if (header.k === Kind.GRANT) this.grant(stream, header);
    if (header.k === Kind.END_ACK && stream.final?.k !== Kind.END) {
      throw new Breach(`stream ${stream.id} has not ended`);
    }
    if (header.k === Kind.CLOSE || header.k === Kind.END_ACK) session.streams.delete(stream.key);
  }

  open(session, link, opening) {
    checkKeys({ z: 0, ...opening }, ["z"]);
    if (opening.n < 1) throw new Breach("header: n is 0");
    const known = session.streams.get(String(opening.s));
    if (known) return this.replay(known, link, Number(opening.b));
    this.makeRoom();
    if (this.openStreams() >= MAX_STREAMS) {
      const x = `the worker has ${MAX_STREAMS} open streams already; close an iterator first`;
      return this.say(link, { k: Kind.ERROR, c: "too_many_streams", x, s: opening.s });
    }
    const stream = new Stream(opening, this.source);
    session.streams.set(stream.key, stream);
    stream.openOn(link);
  }

  openStreams() {
    return [...this.sessions.values()].reduce((sum, session) => sum + session.streams.size, 0);
  }

  /** When full, forget the trainer that vanished the longest ago. */
  makeRoom() {
    const vanished = [...this.sessions.values()].filter((each) => each.link.state === "lost");
    if (this.openStreams() < MAX_STREAMS || vanished.length === 0) return;
    this.forget(vanished.reduce((a, b) => (a.link.heard <= b.link.heard ? a : b)));
  }

  /** The same life, another link: send again what was kept, from where the trainer needs it. */
  replay(stream, link, start) {
    const oldest = stream.kept[0]?.first ?? stream.next;
    if (start < oldest || start > stream.next) {
      throw new Breach(`stream ${stream.id}: cannot be resumed at ${start}`);
    }
    stream.openOn(link);
    for (const chunk of stream.kept) {
      if (chunk.first + chunk.n > start) this.sendChunk(stream, chunk);
    }
    if (stream.final) this.say(link, stream.final);
  }

  grant(stream, header) {
    const [elements, nbytes, ack] = [Number(header.n), Number(header.b), Number(header.a)];
    if (ack > stream.next || elements < ack) {
      throw new Breach(`stream ${stream.id}: acknowledges what was never sent`);
    }
    stream.kept = stream.kept.filter((chunk) => chunk.first + chunk.n > ack);
    stream.elements = Math.max(stream.elements, elements); // limits never go back
    stream.nbytes = Math.max(stream.nbytes, nbytes);
    this.pump(stream);
  }

  sendChunk(stream, chunk) {
    stream.sentBytes += chunk.nbytes;
    const header = { k: Kind.ITEM, s: stream.id, q: chunk.first, n: chunk.n, a: chunk.arrays };
    this.say(stream.link, header, chunk.frames);
  }

  /** Make chunks while credit lasts, one per turn of the event loop, so that beats go out. */
  pump(stream) {
    const link = stream.link;
    if (stream.final || !this.isOpen(stream)) return;
    try {
      const chunk = stream.makeChunk();
      if (chunk) {
        stream.kept.push(chunk);
        stream.next += chunk.n;
        this.sendChunk(stream, chunk);
        setImmediate(() => stream.link === link && this.pump(stream));
      } else if (stream.next >= stream.length) {
        this.finish(stream, { k: Kind.END, s: stream.id, n: stream.next });
      }
    } catch (error) {
      if (!(error instanceof Raised)) throw error;
      this.fail(stream, error);
    }
  }

  isOpen(stream) {
    const link = stream.link;
    return link?.state === "ready" && link.session.streams.get(stream.key) === stream;
  }

  /** END is kept like a chunk: a new link hears it again. */
  finish(stream, final) {
    stream.final = final;
    stream.endSaid = performance.now();
    this.say(stream.link, final);
  }

  fail(stream, { own, error }) {
    this.finish(stream, {
      k: Kind.FAIL, s: stream.id, q: own, c: brief(error.name).slice(0, 512),
      x: brief(error.message), tb: brief(error.stack),
    });
  }

  idle(link, now) {
    for (const stream of link.session.streams.values()) {
      const due = stream.final?.k === Kind.END && now - stream.endSaid >= BEAT_EVERY;
      if (due && stream.link === link) this.finish(stream, stream.final);
    }
    super.idle(link, now);
  }

  tick(now) {
    super.tick(now);
    for (const session of this.sessions.values()) {
      if (now - session.link.heard >= FORGOTTEN_AFTER) this.forget(session);
    }
  }

  forget(session) {
    session.streams.clear();
    for (const [token, each] of this.sessions) if (each === session) this.sessions.delete(token);
  }
}
