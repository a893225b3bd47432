// A list that is as long as it likes: only the rows in sight are in the page.

import { h, pressing, swap } from "./dom.js";

/** How far beyond the visible part rows are kept, in pixels. */
const MARGIN = 400;
/** How near the end counts as "at the end". */
const NEAR_END = 40;

export class VirtualList {
  /** Whether the end stays in sight when the list grows. */
  following = true;
  #items = [];
  #offsets = new Float64Array(1);
  #shown = new Map();
  /** From which item on the offsets have to be summed up again. */
  #staleFrom = 0;
  #scheduled = false;
  #expected = 0;
  #width = 0;

  /**
   * `render(item)` makes a row; it is called again when the item's `version` grew.
   * `estimate(item)` guesses a height that was never measured. `onfollow` hears when `following` changes by scrolling.
   */
  constructor({ label, role = "feed", render, estimate, onfollow = () => {} }) {
    this.render = render;
    this.estimate = estimate;
    this.onfollow = onfollow;
    this.content = h("div", { class: "rows", role, "aria-label": label });
    this.element = h("div", { class: "scroller", tabindex: "0" }, this.content);
    this.element.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.pressed = pressing(this.content, () => this.schedule());
    this.sizes = new ResizeObserver(() => this.#resized());
    this.sizes.observe(this.element);
  }

  /** The items there are now, each with `key` and `version`; the list notes its `rowHeight` in it. */
  set(items) {
    this.#items = items;
    this.#staleFrom = 0;
    this.schedule();
  }

  /** Draws before the next frame, however often it is called. */
  schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      if (this.element.isConnected && !this.pressed()) this.#draw();
    });
  }

  follow(on) {
    this.following = on;
    this.onfollow(on);
    if (on) this.schedule();
  }

  /** Brings the row of an item into sight. */
  reveal(key) {
    const index = this.#items.findIndex((item) => item.key === key);
    if (index < 0) return;
    this.follow(false);
    this.#measure();
    this.#scrollTo(this.#offsets[index] - 60);
    this.schedule();
  }

  close() {
    this.sizes.disconnect();
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.element;
    // What this list did itself is no wish of the reader's.
    if (Math.abs(scrollTop - this.#expected) > 2) {
      const atEnd = scrollHeight - scrollTop - clientHeight < NEAR_END;
      if (atEnd !== this.following) {
        this.following = atEnd;
        this.onfollow(atEnd);
      }
    }
    this.#expected = scrollTop;
    this.schedule();
  }

  #scrollTo(top) {
    this.element.scrollTop = top;
    this.#expected = this.element.scrollTop;
  }

  #measure() {
    const items = this.#items;
    if (this.#staleFrom > items.length) return;
    if (this.#offsets.length < items.length + 1) {
      this.#offsets = new Float64Array(Math.max(items.length + 1, this.#offsets.length * 2));
      this.#staleFrom = 0;
    }
    let top = this.#offsets[this.#staleFrom];
    for (let index = this.#staleFrom; index < items.length; index += 1) {
      this.#offsets[index] = top;
      top += (items[index].rowHeight ??= this.estimate(items[index]));
    }
    this.#offsets[items.length] = top;
    this.#staleFrom = Infinity;
  }

  /** The item at a height. */
  #at(top) {
    let low = 0;
    let high = this.#items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#offsets[middle + 1] > top) high = middle;
      else low = middle + 1;
    }
    return Math.min(low, Math.max(0, this.#items.length - 1));
  }

  #draw() {
    // Heights that turn out to be others than estimated can bring more rows into sight, so it may take a second pass.
    for (let pass = 0; pass < 3; pass += 1) if (!this.#pass()) break;
  }

  #pass() {
    this.#measure();
    const { clientHeight } = this.element;
    const total = this.#offsets[this.#items.length];
    const top = this.following ? Math.max(0, total - clientHeight) : this.element.scrollTop;
    const first = this.#at(top - MARGIN);
    const last = this.#at(top + clientHeight + MARGIN);
    const anchor = this.#at(top);
    const within = top - this.#offsets[anchor];
    this.#place(first, last, total);
    if (!this.#remeasure(first)) {
      if (this.following) this.#scrollTo(this.element.scrollHeight);
      return false;
    }
    this.#measure();
    if (this.following) this.#scrollTo(this.element.scrollHeight);
    else if (Math.abs(this.#offsets[anchor] + within - top) > 1) {
      // What is above grew or shrank: what the reader looks at stays where it is.
      this.content.style.paddingBottom = `${Math.max(0, this.#offsets[this.#items.length] - this.#offsets[last + 1])}px`;
      this.content.style.paddingTop = `${this.#offsets[first]}px`;
      this.#scrollTo(this.#offsets[anchor] + within);
    }
    return true;
  }

  #place(first, last, total) {
    const items = this.#items;
    const wanted = items.slice(first, items.length === 0 ? 0 : last + 1);
    const keys = new Set(wanted.map((item) => item.key));
    for (const [key, row] of this.#shown) {
      if (keys.has(key)) continue;
      if (row.element.contains(document.activeElement)) this.element.focus({ preventScroll: true });
      row.element.remove();
      this.#shown.delete(key);
    }
    this.content.style.paddingTop = `${this.#offsets[first] ?? 0}px`;
    this.content.style.paddingBottom = `${Math.max(0, total - (this.#offsets[last + 1] ?? total))}px`;
    let place = this.content.firstChild;
    wanted.forEach((item, index) => {
      let row = this.#shown.get(item.key);
      if (!row || row.version !== item.version) {
        const element = this.render(item);
        element.setAttribute("aria-posinset", String(first + index + 1));
        if (row) {
          if (place === row.element) place = element;
          swap(row.element, element);
        }
        row = { element, version: item.version };
        this.#shown.set(item.key, row);
      }
      if (row.element === place) place = place.nextSibling;
      else this.content.insertBefore(row.element, place);
    });
  }

  /** Reads the heights of what is shown; whether one was another than thought. */
  #remeasure(first) {
    let changed = false;
    for (let index = first; index < this.#items.length; index += 1) {
      const item = this.#items[index];
      const row = this.#shown.get(item.key);
      if (!row) break;
      const { height } = row.element.getBoundingClientRect();
      if (height === 0 || Math.abs(item.rowHeight - height) <= 0.5) continue;
      item.rowHeight = height;
      this.#staleFrom = Math.min(this.#staleFrom, index);
      changed = true;
    }
    return changed;
  }

  #resized() {
    if (this.#width !== this.element.clientWidth) {
      this.#width = this.element.clientWidth;
      for (const item of this.#items) item.rowHeight = undefined;
      this.#staleFrom = 0;
    }
    this.schedule();
  }
}
