// Several images: asked for one after another, the one that is looked at first, and shown one at a time.

const KEPT = 4; // images whose pictures are held; others are asked for again when they are looked at

export class Worklist {
  /** `predict(file, options)` asks; `changed(entry)` is told of every change, `unauthorised()` of a missing token. */
  constructor(predict, { changed, unauthorised }) {
    Object.assign(this, { predict, changed, unauthorised });
    this.entries = [];
    this.selected = null;
    this.seen = []; // those that hold pictures, the newest last
    this.busy = false;
  }

  /** New files; the first of them is looked at. */
  add(files) {
    const added = Array.from(files, (file) => ({ file, state: "waiting", line: null, document: null, force: false }));
    if (!added.length) return;
    this.entries.push(...added);
    this.select(added[0]);
  }

  select(entry) {
    this.selected = entry;
    if (entry.state === "failed" && entry.again) entry.state = "waiting";
    this.changed(entry);
    this.work();
  }

  /** The one `by` places further down. */
  step(by) {
    const next = this.entries[this.entries.indexOf(this.selected) + by];
    if (next) this.select(next);
  }

  /** Answer an image that was rejected. */
  force(entry) {
    Object.assign(entry, { force: true, state: "waiting", document: null });
    this.select(entry);
  }

  clear() {
    Object.assign(this, { entries: [], selected: null, seen: [] });
    this.changed(null);
  }

  async work() {
    if (this.busy) return;
    this.busy = true;
    for (let entry = this.next(); entry; entry = this.next()) if (!(await this.ask(entry))) break;
    this.busy = false;
  }

  next() {
    const { selected } = this;
    if (selected && !selected.document && selected.state !== "failed") return selected;
    return this.entries.find((entry) => entry.state === "waiting");
  }

  /** Whether to go on. */
  async ask(entry) {
    const pictures = entry === this.selected;
    const { force } = entry;
    try {
      const document = await this.predict(entry.file, { force, pictures });
      if (force !== entry.force) return true; // meanwhile it was forced
      [entry.line] = document.files;
      entry.state = entry.line.status;
      if (pictures) this.keep(entry, document);
    } catch (error) {
      if (error.status === 401) {
        this.unauthorised();
        return false;
      }
      Object.assign(entry, { state: "failed", error, again: error.status === 0 || error.status === 503 });
    }
    if (this.entries.includes(entry)) this.changed(entry);
    return true;
  }

  keep(entry, document) {
    entry.document = document;
    this.seen = [...this.seen.filter((other) => other !== entry), entry];
    for (const old of this.seen.splice(0, this.seen.length - KEPT)) old.document = null;
  }
}
