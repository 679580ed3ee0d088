# needs: luajit lua5.4
luajit -e 'local t={} for i=1,200000 do t[i]=i*math.random() end print(#t, os.time(), os.clock()>0)'; lua5.4 -e 'print(os.time(), math.random(1e9)); local s=0 for i=1,1e6 do s=s+i end print(s)'
