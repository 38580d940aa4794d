package interop
import ("runtime";"time";"os")
func init(){ if os.Getenv("DBG")!="" { time.AfterFunc(15*time.Second, func(){ for range 12 { b:=make([]byte,1<<20); n:=runtime.Stack(b,true); os.Stderr.Write(b[:n]); os.Stderr.WriteString("\n#####\n"); time.Sleep(50*time.Millisecond)} }) } }
