# needs: python3
python3 - <<'X'
import os,socketserver,threading,socket,http.server,urllib.request
class H(socketserver.BaseRequestHandler):
    def handle(self): self.request.sendall(self.request.recv(100)[::-1])
class S(socketserver.ForkingTCPServer): allow_reuse_address=True
s=S(('127.0.0.1',0),H); threading.Thread(target=s.serve_forever,args=(0.05,),daemon=True).start()
for i in range(5):
    c=socket.create_connection(s.server_address); c.sendall(b'abc%d'%i); print(c.recv(10)); c.close()
s.shutdown()
u=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); u.bind(('127.0.0.1',0)); u.sendto(b'self',u.getsockname()); print(u.recvfrom(10)[0])
X
