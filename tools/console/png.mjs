// Makes a picture of text smaller: the same pixels without filters, which suit photographs, and packed as well as it goes.
import { crc32, deflateSync, inflateSync } from "node:zlib";

const HEAD = 8;

/** `png` has three bytes a pixel, as browsers make it. */
export function smaller(png) {
  const parts = [];
  for (let at = HEAD; at < png.length; at += 12 + png.readUInt32BE(at)) parts.push({ name: png.toString("latin1", at + 4, at + 8), data: png.subarray(at + 8, at + 8 + png.readUInt32BE(at)) });
  const { data: head } = parts.find(({ name }) => name === "IHDR");
  if (head[9] !== 2) throw new Error("not a picture of three bytes a pixel");
  const raw = inflateSync(Buffer.concat(parts.filter(({ name }) => name === "IDAT").map(({ data }) => data)));
  plain(raw, head.readUInt32BE(0) * 3);
  return Buffer.concat([png.subarray(0, HEAD), chunk("IHDR", head), chunk("IDAT", deflateSync(raw, { level: 9, memLevel: 9 })), chunk("IEND", Buffer.alloc(0))]);
}

/** Undoes the filters of all rows, in place. Each row begins with the number of its filter. */
function plain(raw, width) {
  for (let row = 0; row < raw.length; row += width + 1) {
    const filter = raw[row];
    raw[row] = 0;
    for (let at = row + 1; at <= row + width; at += 1) {
      const left = at - row > 3 ? raw[at - 3] : 0;
      const above = row > 0 ? raw[at - width - 1] : 0;
      const corner = at - row > 3 && row > 0 ? raw[at - width - 4] : 0;
      raw[at] += [0, left, above, (left + above) >> 1, nearest(left, above, corner)][filter];
    }
  }
}

function nearest(left, above, corner) {
  const [toLeft, toAbove, toCorner] = [above - corner, left - corner, left + above - 2 * corner].map(Math.abs);
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}

function chunk(name, data) {
  const body = Buffer.concat([Buffer.from(name, "latin1"), data]);
  const number = (value) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return bytes;
  };
  return Buffer.concat([number(data.length), body, number(crc32(body))]);
}
