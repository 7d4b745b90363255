import assert from "node:assert/strict";
import { test } from "node:test";
import {
  age,
  clip,
  clock,
  compactNumber,
  costAndTime,
  duration,
  formatUsd,
  nameOf,
  orDash,
  plural,
  rankOf,
  safeUrl,
  symbolOf,
  timeOfDay,
} from "../../eachlabs_frames/views/web/format.js";

/**
 * @template In, Out
 * @param {(value: In) => Out} format
 * @param {[In, Out][]} cases
 */
function check(format, cases) {
  for (const [value, expected] of cases) assert.equal(format(value), expected, String(value));
}

test("dollars have two digits, more where they are small, and none where they are many", () => {
  check(formatUsd, [
    [0, "$0.00"],
    [0.5, "$0.50"],
    [0.00432, "$0.00432"],
    [0.0000000123456, "$0.0000000123"],
    [12.345, "$12.35"],
    [99.99, "$99.99"],
    [99.995, "$100"],
    [1234567, "$1,234,567"],
    [-3, "−$3.00"],
  ]);
});

test("a clock has hours only where there are some", () => {
  check(clock, [
    [-1, "0:00"],
    [59.9, "0:59"],
    [61, "1:01"],
    [3599, "59:59"],
    [3600, "1:00:00"],
    [86_399, "23:59:59"],
  ]);
});

test("a duration has tenths of seconds while it is short", () => {
  check(duration, [
    [0, "0.0 s"],
    [99.94, "99.9 s"],
    [100, "1:40"],
  ]);
});

test("an age is in its largest unit", () => {
  check(age, [
    [-5, "0 s"],
    [59, "59 s"],
    [60, "1 min"],
    [3600, "1 h"],
    [172_799, "47 h"],
    [172_800, "2 d"],
  ]);
});

test("a time has a date where it is not recent", () => {
  const now = Date.now() / 1000;
  assert.match(timeOfDay(now), /^\d\d:\d\d:\d\d$/);
  assert.match(timeOfDay(now - 86_400), /^\d{1,2} \w+, \d\d:\d\d:\d\d$/);
});

test("numbers and nouns", () => {
  check(compactNumber, [
    [9_999, "9,999"],
    [12_345, "12.3K"],
  ]);
  assert.equal(plural(1, "row"), "1 row");
  assert.equal(plural(1_000, "row"), "1,000 rows");
  assert.equal(
    orDash(null, () => "x"),
    "–",
  );
  assert.equal(orDash(0, String), "0");
  assert.deepEqual(costAndTime({ cost_usd: null, seconds: 2 }), ["", "2.0 s"]);
});

test("a text that is cut says by how much", () => {
  assert.equal(clip("abc", 3), "abc");
  assert.equal(clip("abcd", 3), "abc… (1 more characters)");
});

test("a status that the API adds later stands between the final and the open ones", () => {
  assert.equal(symbolOf("completed"), "✓");
  assert.equal(symbolOf("toString"), "◇");
  assert.ok(rankOf("unknown") < rankOf("new") && rankOf("new") < rankOf("running"));
});

test("only URLs of the web are safe, and data: URLs only for images", () => {
  assert.equal(safeUrl("https://cdn.test/a b.png", "image"), "https://cdn.test/a%20b.png");
  assert.equal(safeUrl("data:image/png;base64,AA==", "image"), "data:image/png;base64,AA==");
  for (const url of ["javascript:alert(1)", "file:///etc/passwd", "data:text/html,x", "/a.png", "", null, 3])
    assert.equal(safeUrl(url, "image"), null, String(url));
  for (const kind of ["video", "audio", "link", undefined])
    assert.equal(safeUrl("data:image/png;base64,AA==", kind), null, kind);
});

test("a URL is named by its file, else by its host", () => {
  assert.equal(nameOf("https://cdn.test/a/b.png?x=1"), "b.png");
  assert.equal(nameOf("https://cdn.test/"), "cdn.test");
});
