// Code made at run time by V8: counters, floats, objects, a regular expression, sorting.
const wanted = Number(process.argv[2] || 25);
let x = 0;
let f = 0.5;
const seen = new Map();
function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
for (let i = 0; i < wanted * 100; i++) {
  for (let k = 0; k < 2000; k++) { x = (x * 31 + k) % 1000003; f = 3.7 * f * (1 - f); }
  seen.set(`k${i % 97}`, (seen.get(`k${i % 97}`) || 0) + fib(10));
  const items = Array.from({ length: 40 }, (_, n) => (n * 7919 + x) % 613).sort((a, b) => a - b);
  x += items[i % 40] + "w17 w27 w38".match(/w\d+7/g).length;
}
console.log(x, f, seen.size);
