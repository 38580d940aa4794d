package api

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"

	"github.com/moby/moby/api/types/container"

	"weft/internal/cnm"
	"weft/internal/node"
)

// maxTop bounds the output of ps in bytes.
const maxTop = 1 << 20

// containerTop lists the processes of a sandbox, as ps run inside it shows
// them: identifiers are those of its pid namespace, and ps itself is left out.
func (s *Server) containerTop(w http.ResponseWriter, r *http.Request) error {
	args := r.URL.Query().Get("ps_args")
	if args == "" {
		args = "-ef"
	}
	cmd := append([]string{"ps"}, strings.Fields(args)...)
	id, err := s.backend.ExecCreate(r.Context(), r.PathValue("id"), node.ExecSpec{Cmd: cmd, Stdout: true, Stderr: true})
	if err != nil {
		return err
	}
	out, err := s.run(r.Context(), id)
	if err != nil {
		return err
	}
	top, err := parseTop(out, strings.Join(cmd, " "))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, top)
	return nil
}

// run starts an exec and returns what it prints, with an error if it fails.
func (s *Server) run(ctx context.Context, id string) ([]byte, error) {
	st, err := s.backend.ExecStart(ctx, id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = st.Close() }()
	defer context.AfterFunc(ctx, func() { _ = st.Close() })()
	var out, errs bytes.Buffer
	for {
		fd, data, err := st.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if out.Len()+errs.Len()+len(data) > maxTop {
			return nil, cnm.Errorf(cnm.Invalid, "ps printed more than %d bytes", maxTop)
		}
		if fd == 1 {
			out.Write(data)
		} else {
			errs.Write(data)
		}
	}
	if e, err := s.backend.ExecInspect(id); err == nil && e.ExitCode != nil && *e.ExitCode != 0 {
		return nil, cnm.Errorf(cnm.Invalid, "ps failed with %d: %s", *e.ExitCode, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), nil
}

// parseTop splits what ps prints into columns; the last takes the rest of the
// line. The line of ps itself is the one that ends with its command.
func parseTop(out []byte, self string) (container.TopResponse, error) {
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, maxTop)
	top := container.TopResponse{Processes: [][]string{}}
	if lines.Scan() {
		top.Titles = strings.Fields(lines.Text())
	}
	if len(top.Titles) == 0 {
		return top, cnm.Errorf(cnm.Invalid, "ps printed no titles")
	}
	for lines.Scan() {
		if strings.HasSuffix(strings.TrimSpace(lines.Text()), self) {
			continue
		}
		fields := strings.Fields(lines.Text())
		if n := len(top.Titles); len(fields) > n {
			fields = append(fields[:n-1:n-1], strings.Join(fields[n-1:], " "))
		}
		top.Processes = append(top.Processes, fields)
	}
	return top, lines.Err()
}
