// A WebSocket, a browser's or npm's, carries out the steps of conversation.json; then what it was told, or where it stopped.
// Runs as it is in both, so they are told apart by nothing but their WebSocket.
function fits(part, whole) {
  if (part === null || typeof part !== "object") return part === whole;
  return whole !== null && typeof whole === "object" && Object.keys(part).every((key) => fits(part[key], whole[key]));
}

async function converse(WebSocket, url, { protocols, steps }) {
  const events = [], answers = [];
  let wake = () => {}, closed = false, passed = 0;
  const socket = new WebSocket(url, protocols);
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.type) answers.push(message);
    else if (message.id !== null && message.event !== "heartbeat") events.push([message.event, message.id, message.data]);
    wake();
  };
  socket.onerror = () => {};
  socket.onclose = () => { closed = true; wake(); };
  // The first of what comes that is one, or nothing when the socket is closed.
  const next = async (is) => {
    for (;;) {
      const found = is();
      if (found !== undefined || closed) return found;
      await new Promise((resolve) => { wake = resolve; });
    }
  };
  const kept = {};
  for (const [ref, { say, answer, until, as }] of steps.entries()) {
    if (until) {
      const [kind, part] = until;
      const data = await next(() => {
        while (passed < events.length) {
          const [event, , data] = events[passed];
          passed += 1;
          if (event === kind && fits(part, data)) return data;
        }
        return undefined;
      });
      if (data === undefined) return { stopped: { ref, until }, events };
      if (as) kept[as] = data[as];
    } else {
      const asks = ["permission", "question"].includes(say.type);
      socket.send(JSON.stringify({ ...say, ...(asks ? kept : {}), ref }));
      const got = await next(() => answers.find((one) => one.ref === ref));
      if (!fits(answer, got)) return { stopped: { ref, say, got }, events };
    }
  }
  socket.close(1000);
  return { events };
}
if (typeof module !== "undefined") module.exports = { converse };
