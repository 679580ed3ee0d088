# needs: go
export GOCACHE=$PWD/c GOPATH=$PWD/g GOFLAGS=-mod=mod; cat > m.go <<'X'
package main
import ("fmt";"sync";"time";"math/rand";"net/http";"net/http/httptest";"io";"os/exec")
func main(){ var wg sync.WaitGroup; c:=make(chan int,3); for i:=0;i<8;i++{wg.Add(1); go func(i int){defer wg.Done(); s:=0; for j:=0;j<2000000;j++{s+=j%7}; c<-s+i}(i)}; go func(){wg.Wait();close(c)}(); for v:=range c{fmt.Println(v)}; m:=map[int]int{1:1,2:2,3:3,4:4}; fmt.Println(m,rand.Int(),time.Now().UnixNano()); for k:=range m{fmt.Print(k," ")}; s:=httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter,r*http.Request){fmt.Fprint(w,"hi")})); r,_:=http.Get(s.URL); b,_:=io.ReadAll(r.Body); fmt.Println(string(b)); o,_:=exec.Command("echo","sub").Output(); fmt.Print(string(o)) }
X
which go && go build -o m m.go && ./m
