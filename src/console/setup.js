// The fields of `model_config`, for a new session and for a follow-up that needs its key again.

import { about, has } from "./api.js";
import { h } from "./dom.js";
import { setup } from "./memory.js";

/** The provider's name, what its models are called like, and whether it needs a key. */
const PROVIDERS = [
  ["anthropic", "claude-sonnet-4-5", true], ["openai", "gpt-5", true], ["google", "gemini-2.5-pro", true], ["openrouter", "anthropic/claude-sonnet-4.5", true],
  ["mistral", "mistral-large-latest", true], ["deepseek", "deepseek-chat", true], ["xai", "grok-4", true], ["groq", "llama-3.3-70b-versatile", true],
  ["together", "meta-llama/Llama-3.3-70B-Instruct-Turbo", true], ["local", "llama3", false], ["custom", "model", false], ["demo", "demo", false],
];
/** Only a sidecar that can ask offers it. */
const ASKS = "/sessions/{id}/permissions/{request_id}";
const TOOLS = ["bash", "read", "write", "edit", "glob", "grep", "task", "todowrite", "webfetch"];

/** `element` to show, `read()` for the `model_config`, `focus()`. With `whole`, what holds for a session as well. */
export function modelFields({ whole = true } = {}) {
  const known = setup();
  const usable = PROVIDERS.filter(([name]) => name !== "demo" || about().demo_model);
  const provider = h("select", { id: "provider", onchange: () => adapt() }, usable.map(([name]) => h("option", { value: name }, name)));
  provider.value = usable.some(([name]) => name === known.provider) ? known.provider : usable[0][0];
  const model = h("input", { id: "model", type: "text", value: known.model ?? "", spellcheck: "false", autocomplete: "off" });
  const key = h("input", { id: "api-key", type: "password", autocomplete: "off", spellcheck: "false" });
  const endpoint = h("input", { id: "endpoint", type: "url", value: known.api_endpoint ?? "", spellcheck: "false" });
  const permissions = h("select", { id: "permission-mode" }, h("option", { value: "auto" }, "run it"), h("option", { value: "ask" }, "ask me"));
  permissions.value = known.permission_mode ?? "auto";
  const tools = TOOLS.map((name) => h("input", { type: "checkbox", value: name, checked: !known.enabled_tools || known.enabled_tools.includes(name) }));
  const calls = h("input", { id: "max-calls", type: "number", min: 1, value: known.max_calls ?? "" });
  const temperature = h("input", { id: "temperature", type: "number", min: 0, max: 2, step: 0.1, value: known.temperature ?? "" });
  const fields = {
    key: field("API key", key),
    endpoint: field("Endpoint", endpoint),
  };
  const adapt = () => {
    const [name, placeholder, needsKey] = usable.find(([one]) => one === provider.value);
    model.placeholder = placeholder;
    if (name === "demo") model.value = "demo";
    else if (model.value === "demo") model.value = "";
    key.placeholder = needsKey ? "kept in memory only" : "optional";
    endpoint.placeholder = name === "custom" ? "https://…/v1" : "the provider's own";
    fields.key.hidden = name === "demo";
    fields.endpoint.hidden = name === "demo";
  };
  adapt();
  const element = h("div", { class: "fields" },
    field("Provider", provider), field("Model", model), fields.key, fields.endpoint,
    whole && h("details", { class: "wide" }, h("summary", {}, "Tools, permissions and limits"),
      h("fieldset", { class: "checks" }, h("legend", {}, "Tools"), tools.map((box) => h("label", {}, box, h("span", {}, box.value)))),
      h("div", { class: "fields" }, has("POST", ASKS) && field("Before a tool runs", permissions),
        field("Temperature", temperature, "the model's, if empty"), field("Model calls at most", calls, "500 a turn, if empty"))));
  return { element, focus: () => model.focus(), read: () => read() };

  function read() {
    const chosen = tools.filter((box) => box.checked).map((box) => box.value);
    const config = { provider: provider.value, model: model.value.trim() || model.placeholder };
    if (!fields.key.hidden && key.value.trim()) config.api_key = key.value.trim();
    if (!fields.endpoint.hidden && endpoint.value.trim()) config.api_endpoint = endpoint.value.trim();
    if (!whole) return config;
    if (chosen.length < TOOLS.length) config.enabled_tools = chosen;
    if (permissions.value !== "auto") Object.assign(config, { permission_mode: permissions.value, questions: true });
    if (temperature.value) config.temperature = Number(temperature.value);
    if (calls.value) config.max_calls = Number(calls.value);
    return config;
  }
}

function field(label, input, hint) {
  return h("div", { class: "field" }, h("label", { for: input.id }, label), input, hint && h("small", { class: "muted" }, hint));
}

/** Asks for a model and its key; null if the person does not want to. */
export function askForModel(why) {
  return new Promise((resolve) => {
    const dialog = document.getElementById("dialog");
    const fields = modelFields({ whole: false });
    const finish = (config) => {
      dialog.onclose = null;
      if (dialog.open) dialog.close();
      resolve(config);
    };
    dialog.onclose = () => finish(null);
    dialog.replaceChildren(h("form", { onsubmit: (event) => { event.preventDefault(); finish(fields.read()); } },
      h("h2", {}, "The model for this turn"), h("p", { class: "muted" }, why), fields.element,
      h("div", { class: "actions" }, h("button", { type: "button", onclick: () => finish(null) }, "Cancel"), h("button", { type: "submit", class: "primary" }, "Send"))));
    dialog.showModal();
    fields.focus();
  });
}

/** Asks before something that cannot be undone. */
export function confirm(question, action) {
  return new Promise((resolve) => {
    const dialog = document.getElementById("dialog");
    const finish = (answer) => {
      dialog.onclose = null;
      if (dialog.open) dialog.close();
      resolve(answer);
    };
    dialog.onclose = () => finish(false);
    dialog.replaceChildren(h("form", { onsubmit: (event) => { event.preventDefault(); finish(true); } },
      h("h2", {}, question), h("div", { class: "actions" }, h("button", { type: "button", onclick: () => finish(false) }, "Cancel"),
        h("button", { type: "submit", class: "danger" }, action))));
    dialog.showModal();
  });
}
