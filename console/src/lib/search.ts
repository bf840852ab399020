/** Searching in lists: words, and `key:value` pairs. */

export interface Query {
  words: string[];
  pairs: [string, string][];
}

/** `timeout level:error order:"a b"`; without case. */
export function parse(text: string): Query {
  const query: Query = { words: [], pairs: [] };
  for (const [, key, quotedValue, value, quoted, word] of text.matchAll(
    /([\w.@-]+):(?:"([^"]*)"|(\S+))|"([^"]*)"|(\S+)/g,
  )) {
    // The id of a function has colons, too.
    if (key && !(value ?? "").startsWith(":"))
      query.pairs.push([key.toLowerCase(), (quotedValue ?? value ?? "").toLowerCase()]);
    else query.words.push((key ? `${key}:${value}` : quoted ?? word ?? "").toLowerCase());
  }
  return query;
}

/** Whether all words are in `text` and all pairs in what `field` finds. */
export function matches(
  query: Query,
  text: string,
  field: (key: string) => unknown = () => undefined,
): boolean {
  const lower = query.words.length ? text.toLowerCase() : "";
  if (!query.words.every((word) => lower.includes(word))) return false;
  return query.pairs.every(([key, value]) => {
    const found = field(key);
    if (found === undefined || found === null) return false;
    return (typeof found === "string" ? found : JSON.stringify(found)).toLowerCase().includes(value);
  });
}

/** How well `text` fits letters that were typed, for the palette; null: not at all. */
export function fit(typed: string, text: string): number | null {
  const wanted = typed.toLowerCase().replaceAll(/\s+/g, "");
  const lower = text.toLowerCase();
  const whole = lower.indexOf(typed.trim().toLowerCase());
  if (whole >= 0) return 1000 - whole - text.length / 100;
  let at = -1;
  let jumps = 0;
  for (const letter of wanted) {
    const found = lower.indexOf(letter, at + 1);
    if (found < 0) return null;
    if (found !== at + 1) jumps++;
    at = found;
  }
  return 500 - jumps * 10 - text.length / 100;
}
