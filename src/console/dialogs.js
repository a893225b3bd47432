// Questions to the person at the page, one at a time.

import { h, replace } from "./dom.js";

/**
 * Shows a dialog; what `read` says when it is confirmed, null when it is left.
 * `content` stands between the title and the buttons.
 */
export function dialog({ title, content = null, action, danger = false, read = () => true, focus = null }) {
  return new Promise((resolve) => {
    const element = document.getElementById("dialog");
    const finish = (answer) => {
      element.onclose = null;
      if (element.open) element.close();
      resolve(answer);
    };
    const submit = (event) => {
      event.preventDefault();
      const answer = read();
      if (answer !== undefined) finish(answer);
    };
    // A dialog that was open is left.
    if (element.open) element.close();
    element.onclose = () => finish(null);
    replace(element, h("form", { onsubmit: submit }, h("h2", { id: "dialog-title" }, title), content,
      h("div", { class: "actions" }, h("button", { type: "button", onclick: () => finish(null) }, "Cancel"),
        h("button", { type: "submit", class: danger ? "danger" : "primary" }, action))));
    element.setAttribute("aria-labelledby", "dialog-title");
    element.showModal();
    focus?.focus();
  });
}

/** Asks before something that cannot be undone. */
export const confirm = (title, action, words = null) => dialog({ title, action, danger: true, content: words && h("p", { class: "muted" }, words) });

/** One line of text; empty is an answer too. */
export function askText(title, label, value, action) {
  const field = h("input", { type: "text", id: "dialog-text", value, maxlength: 256, dir: "auto" });
  return dialog({ title, action, content: h("div", { class: "field" }, h("label", { for: field.id }, label), field), read: () => field.value.trim(), focus: field });
}
