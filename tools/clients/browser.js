// An EventSource, a browser's or npm's, until it gives up for good or has `enough`; then what it was given.
// Runs as it is in both, so they are told apart by nothing but their EventSource.
function follow(EventSource, url, kinds, enough = () => false) {
  return new Promise((resolve) => {
    const events = [];
    let connections = 0;
    const source = new EventSource(url);
    source.onopen = () => { connections += 1; };
    for (const kind of kinds) {
      source.addEventListener(kind, (event) => {
        // The specification calls a lost connection an error too; that one has no data.
        if (event.data === undefined) return;
        events.push([kind, event.lastEventId, event.data]);
        if (enough(events)) {
          source.close();
          resolve({ events, connections });
        }
      });
    }
    source.addEventListener("error", (event) => {
      if (event.data === undefined && source.readyState === 2) resolve({ events, connections });
    });
  });
}
if (typeof module !== "undefined") module.exports = { follow };
