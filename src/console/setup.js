// The fields of `model_config`, for a new session and for a follow-up that needs its key again.

import { about, has } from "./api.js";
import { dialog } from "./dialogs.js";
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
/** What a session may reach, where the sidecar keeps a list of hosts. */
const EGRESS = [["", "what the sidecar allows"], ["list", "only these of them"], ["none", "none"]];
const TOOLS = ["bash", "read", "write", "edit", "glob", "grep", "task", "todowrite", "webfetch"];
/** What a person is asked for before, where nothing else is chosen: what changes something or reaches out. */
const ASKED = ["bash", "write", "edit", "webfetch"];
/** Fields with a number: name, label, what holds if it is empty, and its bounds. */
const NUMBERS = [
  ["temperature", "Temperature", "the model's", { min: 0, max: 2, step: 0.1 }], ["max_tokens", "Tokens of an answer", "the model's", { min: 1, max: 128_000 }],
  ["context_window", "Context window", "by the model's name", { min: 1 }], ["max_calls", "Model calls at most", "500 a turn", { min: 1 }],
  ["max_total_tokens", "Tokens at most", "no limit", { min: 1 }],
];

/**
 * `element` to show, `read()` for the `model_config`, `rest()` for the other fields of a request, `focus()`, and `blame(field)` for
 * the one that was refused. With `whole`, what holds for a session as well.
 */
export function modelFields({ whole = true } = {}) {
  const known = setup();
  // A dialog may be in front of the form of a new session.
  const id = (name) => (whole ? name : `turn-${name}`);
  const usable = PROVIDERS.filter(([name]) => name !== "demo" || about().demo_model);
  const provider = h("select", { id: id("provider"), onchange: () => adapt() }, usable.map(([name]) => h("option", { value: name }, name)));
  provider.value = usable.some(([name]) => name === known.provider) ? known.provider : usable[0][0];
  const model = h("input", { id: id("model"), type: "text", value: known.model ?? "", spellcheck: "false", autocomplete: "off" });
  const key = h("input", { id: id("api_key"), type: "password", autocomplete: "off", spellcheck: "false" });
  const endpoint = h("input", { id: id("api_endpoint"), type: "url", value: known.api_endpoint ?? "", spellcheck: "false" });
  const keyField = field("API key", key);
  const endpointField = field("Endpoint", endpoint);
  const adapt = () => {
    const [name, placeholder, needsKey] = usable.find(([one]) => one === provider.value);
    model.placeholder = placeholder;
    if (name === "demo") model.value = "demo";
    else if (model.value === "demo") model.value = "";
    key.placeholder = needsKey ? "kept in memory only" : "optional";
    endpoint.placeholder = name === "custom" ? "https://…/v1" : "the provider's own";
    keyField.hidden = name === "demo";
    endpointField.hidden = name === "demo";
  };
  adapt();
  const more = whole ? sessionFields(known) : null;
  const element = h("div", { class: "fields" }, field("Provider", provider), field("Model", model), keyField, endpointField, more?.elements);

  const own = () => {
    const config = { provider: provider.value, model: model.value.trim() || model.placeholder };
    if (!keyField.hidden && key.value.trim()) config.api_key = key.value.trim();
    if (!endpointField.hidden && endpoint.value.trim()) config.api_endpoint = endpoint.value.trim();
    return config;
  };
  return {
    element, focus: () => (keyField.hidden || key.value ? model : key).focus(), read: () => ({ ...own(), ...more?.read() }), rest: () => more?.rest() ?? {},
    blame: (name) => {
      const control = element.querySelector(`#${CSS.escape(name?.replace(/^model_config\./, "").replace(/\[.*/, "") || "none")}`);
      if (!control) return;
      control.closest("details")?.setAttribute("open", "");
      control.focus();
    },
  };
}

function sessionFields(known) {
  const tools = boxes("tool", TOOLS, known.enabled_tools ?? TOOLS);
  const mode = h("select", { id: "permission_mode", onchange: () => adapt() }, h("option", { value: "auto" }, "run it"), h("option", { value: "ask" }, "ask me"), h("option", { value: "rules" }, "follow rules"));
  mode.value = Array.isArray(known.permission_mode) ? "rules" : known.permission_mode ?? "auto";
  const asked = boxes("ask", TOOLS.filter((name) => name !== "todowrite"), known.ask_tools ?? ASKED);
  const rules = h("textarea", { id: "rules", rows: 3, spellcheck: "false", placeholder: "allow bash git *\nask bash *\ndeny webfetch *" });
  if (mode.value === "rules") rules.value = known.permission_mode.map(({ action, permission, pattern }) => `${action} ${permission} ${pattern}`).join("\n");
  const questions = h("input", { type: "checkbox", id: "questions", checked: Boolean(known.questions) });
  const wait = h("input", { type: "number", id: "ask_timeout_secs", min: 1, max: 604_800, value: known.ask_timeout_secs ?? "" });
  const egress = h("select", { id: "egress", onchange: () => adapt() }, EGRESS.map(([value, label]) => h("option", { value }, label)));
  egress.value = known.egress_allow ? "list" : known.egress ?? "";
  const hosts = h("textarea", { id: "egress_allow", rows: 2, spellcheck: "false", placeholder: "registry.npmjs.org\n*.pypi.org:443" });
  hosts.value = (known.egress_allow ?? []).join("\n");
  const hostsField = field("Hosts, one a line", hosts);
  hostsField.classList.add("wide");
  const system = h("textarea", { id: "system_prompt", rows: 2, dir: "auto" });
  const version = h("input", { type: "text", id: "model_version", spellcheck: "false", value: known.model_version ?? "" });
  const timeout = h("input", { type: "number", id: "timeout_secs", min: 1 });
  const numbers = NUMBERS.map(([name, , , bounds]) => h("input", { id: name, type: "number", value: known[name] ?? "", ...bounds }));
  const askedField = h("fieldset", { class: "checks" }, h("legend", {}, "Ask me before"), asked.elements);
  const rulesField = field("Rules: allow, ask or deny, a tool, and what it may touch; the last that fits decides", rules);
  rulesField.classList.add("wide");
  const waitField = field("Seconds to wait for me", wait, "ASK_TIMEOUT, if empty");
  const adapt = () => {
    askedField.hidden = mode.value !== "ask";
    rulesField.hidden = mode.value !== "rules";
    hostsField.hidden = egress.value !== "list";
  };
  adapt();
  return {
    elements: [
      h("details", { class: "wide" }, h("summary", {}, "Tools and permissions"), h("fieldset", { class: "checks" }, h("legend", {}, "Tools"), tools.elements),
        has("POST", ASKS) && h("div", { class: "fields" }, field("Before a tool runs", mode), waitField, h("label", { class: "check" }, questions, h("span", {}, "The agent may ask me questions"))),
        has("POST", ASKS) && [askedField, rulesField], limitsHosts() && [field("Hosts the tools may reach", egress), hostsField]),
      h("details", { class: "wide" }, h("summary", {}, "System prompt and limits"), field("System prompt, added to the agent's own", system),
        h("div", { class: "fields" }, NUMBERS.map(([, label, empty], index) => field(label, numbers[index], `${empty}, if empty`)),
          field("Seconds for the turn", timeout, "SESSION_TIMEOUT, if empty"), field("Version of the model", version, "none, if empty"))),
    ],
    read: () => ({
      ...(tools.chosen().length < TOOLS.length && { enabled_tools: tools.chosen() }), ...permissions(), ...reach(),
      ...Object.fromEntries(NUMBERS.map(([name], index) => [name, numbers[index].value]).filter(([, value]) => value !== "").map(([name, value]) => [name, Number(value)])),
      ...(version.value.trim() && { model_version: version.value.trim() }),
    }),
    rest: () => ({ ...(system.value.trim() && { system_prompt: system.value }), ...(timeout.value && { timeout_secs: Number(timeout.value) }) }),
  };

  function reach() {
    if (!limitsHosts() || !egress.value) return {};
    return egress.value === "list" ? { egress_allow: hosts.value.split(/\s+/).filter(Boolean) } : { egress: egress.value };
  }

  function permissions() {
    if (!has("POST", ASKS)) return {};
    const config = {};
    if (mode.value === "ask") Object.assign(config, { permission_mode: "ask", ask_tools: asked.chosen() });
    if (mode.value === "rules") config.permission_mode = rules.value.split("\n").filter((line) => line.trim()).map(rule);
    if (questions.checked) config.questions = true;
    if (wait.value) config.ask_timeout_secs = Number(wait.value);
    return config;
  }
}

/** An open network cannot be narrowed: nothing of it runs. */
const limitsHosts = () => (about().egress ?? "open") !== "open";

function rule(line) {
  const [, action, permission, pattern] = /^\s*(\S+)\s+(\S+)\s*(.*?)\s*$/.exec(line) ?? [null, line.trim(), "", ""];
  return { action, permission, pattern: pattern || "*" };
}

function boxes(prefix, names, chosen) {
  const all = names.map((name) => h("input", { type: "checkbox", value: name, id: `${prefix}-${name}`, checked: chosen.includes(name) }));
  return { elements: all.map((box) => h("label", { class: "check" }, box, h("span", {}, box.value))), chosen: () => all.filter((box) => box.checked).map((box) => box.value) };
}

function field(label, input, hint) {
  return h("div", { class: "field" }, h("label", { for: input.id }, label), input, hint && h("small", { class: "muted" }, hint));
}

/** Asks for a model and its key; null if the person does not want to. */
export function askForModel(why) {
  const fields = modelFields({ whole: false });
  return dialog({ title: "The model for this turn", content: [h("p", { class: "muted" }, why), fields.element], action: "Send", read: fields.read, focus: fields });
}
