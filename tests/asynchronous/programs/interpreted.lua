-- Loops, tables, strings and coroutines; race with another process's signals is outside Lua,
-- so time slices are what lands here: run beside a busy process.
local wanted = tonumber(arg and arg[1]) or 100
local x, t = 0, {}
local co = coroutine.wrap(function() local i = 0 while true do i = i + 1 coroutine.yield(i) end end)
local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end
for i = 1, wanted * 40 do
  x = (x * 31 + fib(12) + co()) % 1000003
  t[i % 97] = (t[i % 97] or 0) + x
  for word in ("some words to go through"):gmatch("%a+") do x = x + #word end
end
print(x, #t, os.clock() > 0)
