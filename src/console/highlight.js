// Colours for source text: comments, strings, numbers and words that most languages share. No language is really parsed.

import { h } from "./dom.js";

/** Longer texts stay plain, so that colouring never takes noticeable time. */
const LONGEST = 20_000;
const WORDS = "abstract as async await bool break case catch class const continue def default defer del do elif else enum export extends extern false fi final finally fn for from func function go if impl implements import in interface is lambda let loop match mod module mut namespace new nil None not null or package pass private protected pub public raise return self static struct super switch then this throw trait True False try true type typedef use using var void where while with yield";
const KEYWORDS = new Set(WORDS.split(" "));
const TOKENS = /(\/\/[^\n]*|\/\*[^]{0,2000}?\*\/|(?<=^|\s)#[^\n]*)|("(?:[^"\\\n]|\\.){0,2000}"|'(?:[^'\\\n]|\\.){0,2000}'|`(?:[^`\\]|\\.){0,2000}`)|\b(\d[\w.]*)\b|\b([A-Za-z_]\w*)\b/g;
const PLAIN = new Set(["", "text", "txt", "plain", "output", "console", "log"]);

/** Nodes for the text. */
export function highlight(text, language = "") {
  if (language === "diff" || language === "patch") return diffLines(text);
  if (PLAIN.has(language.toLowerCase()) || text.length > LONGEST) return [text];
  const nodes = [];
  let begin = 0;
  for (const match of text.matchAll(TOKENS)) {
    const kind = match[1] ? "comment" : match[2] ? "string" : match[3] ? "number" : KEYWORDS.has(match[4]) ? "keyword" : null;
    if (!kind) continue;
    if (match.index > begin) nodes.push(text.slice(begin, match.index));
    nodes.push(h("span", { class: `s-${kind}` }, match[0]));
    begin = match.index + match[0].length;
  }
  nodes.push(text.slice(begin));
  return nodes;
}

function diffLines(text) {
  return text.slice(0, LONGEST * 5).split("\n").map((line) => {
    const kind = line.startsWith("+") ? "added" : line.startsWith("-") ? "removed" : null;
    return kind ? h("span", { class: `s-${kind}` }, `${line}\n`) : `${line}\n`;
  });
}
