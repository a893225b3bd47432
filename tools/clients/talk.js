// A WebSocket, a browser's or npm's, until it has seen so many turns end; then what it was told and how it closed.
// Runs as it is in both, so they are told apart by nothing but their WebSocket.
function talk(WebSocket, url, { protocols = [], token, prompt, turns }) {
  return new Promise((resolve) => {
    const events = [], answers = [];
    let ended = 0;
    const socket = new WebSocket(url, protocols);
    const send = (message) => socket.send(JSON.stringify(message));
    socket.onopen = () => { if (token) send({ type: "auth", token, ref: "auth" }); };
    socket.onerror = () => {};
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type) {
        answers.push(message);
        return;
      }
      if (message.id === null || message.event === "heartbeat") return;
      events.push([message.event, message.id, message.data]);
      if (message.event !== "complete") return;
      ended += 1;
      if (ended === 1 && prompt) send({ type: "prompt", prompt, ref: 7 });
      if (ended === turns) socket.close(1000);
    };
    socket.onclose = ({ code, wasClean }) =>
      resolve({ events, answers, code, wasClean, protocol: socket.protocol });
  });
}
if (typeof module !== "undefined") module.exports = { talk };
