# needs: ruby
ruby -e 'require "securerandom"; require "socket"; puts SecureRandom.hex; puts Process.pid; t=(1..4).map{|i| Thread.new{ sleep 0.01; (1..20000).sum*i }}; puts t.map(&:value).inspect; r,w=IO.pipe; if fork then w.close; puts r.read; Process.wait else r.close; w.write "child #{$$}"; end; puts `echo hi`'
