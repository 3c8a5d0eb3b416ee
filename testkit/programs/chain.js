// chain.js SECONDS: the chain in JavaScript, until the process has used that much
// CPU time, or twenty times as much and ten seconds have passed.
'use strict';

let sink = 0;

function leaf(n) {
  let sum = n;
  for (let i = 0; i < 2000; i++) sum = (sum + i) | 0;
  sink = sum;
  return sum;
}
function f20(n) { return (leaf(n + 1) * 3 + n) | 0; }
function f19(n) { return (f20(n + 1) * 3 + n) | 0; }
function f18(n) { return (f19(n + 1) * 3 + n) | 0; }
function f17(n) { return (f18(n + 1) * 3 + n) | 0; }
function f16(n) { return (f17(n + 1) * 3 + n) | 0; }
function f15(n) { return (f16(n + 1) * 3 + n) | 0; }
function f14(n) { return (f15(n + 1) * 3 + n) | 0; }
function f13(n) { return (f14(n + 1) * 3 + n) | 0; }
function f12(n) { return (f13(n + 1) * 3 + n) | 0; }
function f11(n) { return (f12(n + 1) * 3 + n) | 0; }
function f10(n) { return (f11(n + 1) * 3 + n) | 0; }
function f09(n) { return (f10(n + 1) * 3 + n) | 0; }
function f08(n) { return (f09(n + 1) * 3 + n) | 0; }
function f07(n) { return (f08(n + 1) * 3 + n) | 0; }
function f06(n) { return (f07(n + 1) * 3 + n) | 0; }
function f05(n) { return (f06(n + 1) * 3 + n) | 0; }
function f04(n) { return (f05(n + 1) * 3 + n) | 0; }
function f03(n) { return (f04(n + 1) * 3 + n) | 0; }
function f02(n) { return (f03(n + 1) * 3 + n) | 0; }
function f01(n) { return (f02(n + 1) * 3 + n) | 0; }

function used() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

function work(seconds) {
  const end = Date.now() + 1000 * (20 * seconds + 10);
  while (used() < seconds && Date.now() < end) for (let i = 0; i < 100; i++) f01(i);
}

work(Number(process.argv[2]));
