;;; smtps-rpc.el --- Calls and events over a process's pipes  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A peer is a process that speaks `smtps-wire' on its standard input and
;; output.  Either side calls the other; each call ends exactly once: with a
;; value, an error, a time-out, or the peer's death.  Nothing here knows SMTP.
;;
;; From the start of a call to its end: `smtps-rpc-call' remembers what is to
;; be called, and `smtps-rpc--post' writes the message, or keeps it back while
;; the peer has not read what was written before (a full pipe would make Emacs
;; wait).  What the peer says comes to `smtps-rpc--heard', which cuts it into
;; lines; `smtps-rpc--work' handles these for a few milliseconds at a time,
;; the rest from a timer, so that keys are answered; and when too much waits,
;; the peer is not read for a while.  `smtps-rpc--settle' ends the call.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'smtps-wire)

(define-error 'smtps-helper-missing "The smtps helper is missing" 'smtps-rpc-error)
(define-error 'smtps-helper-dead "The smtps helper has died" 'smtps-rpc-error)
(define-error 'smtps-helper-too-old "The smtps helper is too old" 'smtps-rpc-error)
(define-error 'smtps-rpc-timeout "The smtps helper did not answer" 'smtps-rpc-error)
(define-error 'smtps-rpc-cancelled "Cancelled" 'smtps-rpc-error)
(define-error 'smtps-remote-error "The smtps helper" 'smtps-rpc-error)

(defconst smtps-rpc-call-seconds 60
  "Seconds after which a call that was not answered is given up.")

(defconst smtps-rpc--late-looks 50
  "Looks for an answer in what has come and waits, before a call is given up.")

(defconst smtps-rpc--late-pause 0.1
  "Seconds between two such looks.")

(defconst smtps-rpc--slice-seconds 0.01
  "Seconds for which messages are handled at once.
Half of the twenty milliseconds in which a key has to be answered.")

(defconst smtps-rpc--pause-seconds 0.001
  "Seconds between two such slices; with none, a timer would follow a timer.")

(defconst smtps-rpc--inbox-limit 262144
  "Octets of messages that may wait to be handled before the peer is not read.
Enough that a burst goes on while a slice is handled.")

(defconst smtps-rpc--pipe-octets 32768
  "Octets that may be written and not yet read: beyond, Emacs might wait.
A pipe of Linux has 16 pages of 4096 octets, but takes a message that does
not fit into the rest of one into the next: half of it may stay empty.")

(defconst smtps-rpc--probe-octets 64
  "Octets of the pipe that are kept for asking whether the peer reads.")

(defconst smtps-rpc--outbox-limit 1048576
  "Octets that are kept for a peer that does not read; it hangs, so no more.")

(defconst smtps-rpc--bad-limit 100
  "Unreadable lines after which a peer that was understood before is given up.")

(defconst smtps-rpc--last-words-seconds 0.2
  "Seconds to wait for what a process that has ended wrote last.
It has been written, but may lie in the pipe behind our back.")

(defconst smtps-rpc--last-words-age 2
  "Seconds before its end in which a process may have said why it ends.
What was on its standard error long before has nothing to do with it.")

(defconst smtps-rpc--execution-seconds 0.02
  "Seconds in which it is known that a program can't be executed.")

(defconst smtps-rpc--log-limit 100000
  "Characters kept of the log of messages.")

(cl-defstruct (smtps-rpc-peer (:constructor smtps-rpc--make-peer) (:copier nil))
  "The other side of the pipes."
  name process stderr handlers on-event on-death
  (uid 0)
  (calls (make-hash-table)
         :documentation "UID -> (THEN ELSE TIMER WRITTEN), WRITTEN as in `written'.")
  (rest nil :documentation "What `smtps-wire-split' left over.")
  (inbox nil :documentation "Lines that wait to be handled, the first first.")
  (inbox-octets 0)
  (busy nil :documentation "Non-nil while messages are handled.")
  (timer nil :documentation "The timer of the next slice, if any.")
  (paused nil :documentation "Non-nil while the process is not read.")
  (written 0 :documentation "Octets written.")
  (known-read 0 :documentation "Octets that the peer has read for sure.")
  (probing nil :documentation "Non-nil while an answer will tell that it reads.")
  (outbox nil :documentation "What waits to be written: (LINE UID SECRET), first first.")
  (outbox-octets 0)
  (understood nil :documentation "Non-nil once a message was readable.")
  (bad 0 :documentation "How many lines were not.")
  (last-words nil :documentation "(TIME . LINE), the last from its standard error.")
  (closing nil :documentation "Non-nil when we have closed its standard input.")
  (ended nil :documentation "Non-nil when the process has ended.")
  (buried nil :documentation "Non-nil when everybody was told that it has ended."))

;;;; Start and end

(cl-defun smtps-rpc-start (&key name command handlers on-event on-death)
  "Start the program COMMAND, a list of strings, and return a peer named NAME.
HANDLERS is what the peer may call, an alist METHOD -> (FUNCTION . SECRET),
or a symbol whose value is one: FUNCTION gets the arguments, a plist, and
returns the value; if SECRET the value is kept nowhere.  ON-EVENT gets topic
and plist.  ON-DEATH gets an error as `condition-case' has it, once, when
the process has ended, whether it was closed or died.

All of them run in a filter or a timer, with quits inhibited and a
temporary buffer current, and may not ask.  Signal `smtps-helper-missing'
if the program can't be started."
  (let* ((peer (smtps-rpc--make-peer :name name :handlers handlers
                                     :on-event on-event :on-death on-death))
         ;; Local: not on the other side of a TRAMP connection.
         (default-directory "/")
         (process-adaptive-read-buffering nil)
         (read-process-output-max 65536)
         (program (car command))
         (stderr nil))
    ;; Emacs looks for a program without a directory, but not for one with.
    (when (and (file-name-absolute-p program) (not (file-executable-p program)))
      (signal 'smtps-helper-missing
              (list (format "The program %s is not there, or may not be run" program))))
    (setq stderr (smtps-rpc--make-stderr peer))
    (setf (smtps-rpc-peer-stderr peer) stderr)
    (condition-case err
        (setf (smtps-rpc-peer-process peer)
              (make-process
               :name name :command command :buffer nil :noquery t
               :connection-type 'pipe :coding 'binary :stderr stderr
               :filter (lambda (_process octets) (smtps-rpc--heard peer octets))
               :sentinel (lambda (process _event)
                           (cond ((not (process-live-p process))
                                  (smtps-rpc--ended peer))
                                 ;; Somebody stopped it, or let it go on.
                                 ((smtps-rpc-peer-closing peer)
                                  (smtps-rpc--send-eof peer))
                                 (t (smtps-rpc--write-waiting peer))))))
      (error
       (delete-process stderr)
       (signal 'smtps-helper-missing
               (list (format "The program %s can't be started (%s)"
                             program
                             (or (nth 2 err) (error-message-string err)))))))
    ;; In batch, to write to a program that could not be executed kills Emacs
    ;; (SIGPIPE); so hear of that first.
    (when noninteractive
      (accept-process-output (smtps-rpc-peer-process peer)
                             smtps-rpc--execution-seconds nil t))
    peer))

(defun smtps-rpc--make-stderr (peer)
  "Return a pipe process that takes PEER's standard error."
  (let* ((buffer (generate-new-buffer " *smtps-rpc stderr*" t))
         (process (make-pipe-process
                   :name (concat (smtps-rpc-peer-name peer) " stderr")
                   :buffer buffer :noquery t :coding 'utf-8-unix
                   :filter (lambda (_process text)
                             (smtps-rpc--heard-stderr peer text))
                   :sentinel #'ignore)))
    ;; With no buffer given it would make one, and whoever kills that would
    ;; break the pipe.
    (set-process-buffer process nil)
    (kill-buffer buffer)
    process))

(defun smtps-rpc-live-p (peer)
  "Return non-nil if PEER can be called."
  (and peer
       (not (smtps-rpc-peer-closing peer))
       (not (smtps-rpc-peer-buried peer))
       (process-live-p (smtps-rpc-peer-process peer))))

(defun smtps-rpc--dying-p (peer)
  "Return non-nil if PEER has ended by itself, and nobody was told yet."
  (not (or (smtps-rpc-peer-closing peer)
           (smtps-rpc-peer-buried peer)
           (process-live-p (smtps-rpc-peer-process peer)))))

(defun smtps-rpc-close (peer)
  "End PEER's standard input: it finishes what it must, and exits by itself.
Until then its events and answers are heard, but nothing new can be said."
  (unless (smtps-rpc-peer-closing peer)
    (setf (smtps-rpc-peer-closing peer) t
          (smtps-rpc-peer-outbox peer) nil)
    (smtps-rpc--send-eof peer)))

(defun smtps-rpc--send-eof (peer)
  "End PEER's standard input, or leave that to the sentinel while it is stopped."
  (let ((process (smtps-rpc-peer-process peer)))
    (when (eq (process-status process) 'run)
      (ignore-errors (process-send-eof process)))))

(defun smtps-rpc-abandon (peer err)
  "Give up PEER because of ERR, an error as `condition-case' has it.
Its calls end with ERR.  It is killed if it has never said a message, for
then it can't be in the middle of anything; else its input is closed."
  (let ((process (smtps-rpc-peer-process peer)))
    (smtps-rpc-close peer)
    (set-process-filter process #'ignore)
    (setf (smtps-rpc-peer-inbox peer) nil)
    (smtps-rpc--bury peer err)
    (unless (smtps-rpc-peer-understood peer)
      (delete-process process))))

(defun smtps-rpc--heard-stderr (peer text)
  "Log TEXT, which PEER wrote to its standard error, and keep its last line."
  (smtps-rpc--log peer "??" (string-trim-right text))
  (let ((line (car (last (split-string text "\n" t "[ \t\r]+")))))
    (when line
      (setf (smtps-rpc-peer-last-words peer)
            (cons (float-time) (smtps-rpc--visible line 300))))))

(defun smtps-rpc--ended (peer)
  "Note that the process of PEER has ended, and bury it soon."
  (setf (smtps-rpc-peer-ended peer) t)
  (let ((stderr (smtps-rpc-peer-stderr peer))
        (until (+ (float-time) smtps-rpc--last-words-seconds)))
    (while (and (process-live-p stderr) (< (float-time) until))
      (accept-process-output stderr 0.02 nil t))
    (delete-process stderr))
  ;; What it said last comes first.
  (if (smtps-rpc-peer-inbox peer)
      (smtps-rpc--work-soon peer)
    (smtps-rpc--bury peer (smtps-rpc--obituary peer))))

(defun smtps-rpc--obituary (peer)
  "Return an error, as `condition-case' has it, for how PEER ended."
  (let* ((process (smtps-rpc-peer-process peer))
         (status (process-exit-status process))
         (last (smtps-rpc-peer-last-words peer))
         (words (if (and last (< (- (float-time) (car last))
                                 smtps-rpc--last-words-age))
                    (string-remove-prefix "smtps: " (cdr last))
                  "")))
    (list 'smtps-helper-dead
          (concat
           (cond
            ((smtps-rpc-peer-closing peer) "The smtps helper was stopped")
            ((eq (process-status process) 'signal)
             (format "The smtps helper was killed (signal %d)" status))
            ((= status 0) "The smtps helper has ended")
            (t (format "The smtps helper has ended (status %d)" status)))
           (if (or (string= words "") (smtps-rpc-peer-closing peer)) ""
             (concat ": " words)))
          :status status :words words)))

(defun smtps-rpc--bury (peer err)
  "Tell everybody who waits for PEER that it has ended, with ERR; once."
  (unless (smtps-rpc-peer-buried peer)
    (setf (smtps-rpc-peer-buried peer) t
          (smtps-rpc-peer-outbox peer) nil)
    (when (smtps-rpc-peer-timer peer)
      (cancel-timer (smtps-rpc-peer-timer peer)))
    (smtps-rpc--log peer "!!" (cadr err))
    (let (uids)
      (maphash (lambda (uid _) (push uid uids)) (smtps-rpc-peer-calls peer))
      (dolist (uid (sort uids #'<))
        (smtps-rpc--settle peer uid nil err)))
    (when (smtps-rpc-peer-on-death peer)
      (smtps-rpc--run peer (smtps-rpc-peer-on-death peer) err))))

;;;; Calls and events, going out

(cl-defun smtps-rpc-call (peer method args &key then else timeout)
  "Call METHOD of PEER with the plist ARGS; return the call's number at once.
Later exactly one is called: THEN with the value, or ELSE with an error as
`condition-case' has it, (CONDITION SENTENCE . PLIST).  TIMEOUT is in
seconds, by default `smtps-rpc-call-seconds', or `none' for no end.  Signal
`smtps-wire-error' if ARGS can't be sent."
  (let* ((uid (cl-incf (smtps-rpc-peer-uid peer)))
         (call (list then else nil nil))
         (form (list 'call uid method args))
         ;; Before the call exists: what can't be sent is the caller's error.
         (line (smtps-rpc--line form)))
    (puthash uid call (smtps-rpc-peer-calls peer))
    (unless (eq timeout 'none)
      (setf (nth 2 call)
            (run-at-time (or timeout smtps-rpc-call-seconds) nil
                         #'smtps-rpc--timed-out peer uid method)))
    (condition-case err
        (smtps-rpc--post peer line form uid)
      (smtps-rpc-error
       ;; One that has ended just now still has to say why.
       (unless (smtps-rpc--dying-p peer)
         ;; From a timer: the caller is to have the number before the error.
         (run-at-time 0 nil #'smtps-rpc--settle peer uid nil err))))
    uid))

(defun smtps-rpc--timed-out (peer uid method &optional looks)
  "End the call UID of METHOD, if PEER has not answered it.
LOOKS is how many times the end was put off, since PEER had said more than
was handled."
  (let* ((process (smtps-rpc-peer-process peer))
         (looks (or looks 0))
         ;; While Emacs was busy with something else the time has passed, too.
         (more (and (process-live-p process)
                    (accept-process-output process 0 nil 1)))
         (call (gethash uid (smtps-rpc-peer-calls peer))))
    (cond
     ((not call))
     ((and (or more (smtps-rpc-peer-inbox peer)) (< looks smtps-rpc--late-looks))
      (setf (nth 2 call)
            (run-at-time smtps-rpc--late-pause nil
                         #'smtps-rpc--timed-out peer uid method (1+ looks))))
     (t
      (smtps-rpc--send-maybe peer (list 'cancel uid))
      (smtps-rpc--settle peer uid nil
                         (list 'smtps-rpc-timeout
                               (format "The smtps helper did not answer `%s' in time"
                                       method)
                               :method method))))))

(defun smtps-rpc-request (peer method args &optional timeout)
  "Call METHOD of PEER with ARGS, wait for the value and return it.
Signal the call's error.  TIMEOUT is in seconds.  For batch use and tests:
Emacs does nothing else meanwhile; \\[keyboard-quit] cancels the call."
  (let* ((answer nil)
         (uid (smtps-rpc-call peer method args :timeout timeout
                              :then (lambda (value) (setq answer (list t value)))
                              :else (lambda (err) (setq answer (list nil err)))))
         (process (smtps-rpc-peer-process peer)))
    (unwind-protect
        (while (not answer)
          (accept-process-output (and (process-live-p process) process) 0.05)
          ;; From within a handler nobody else would.
          (when (and (not answer) (smtps-rpc-peer-inbox peer))
            (smtps-rpc--work peer)))
      (unless answer (smtps-rpc-cancel peer uid)))
    (if (car answer) (cadr answer)
      (signal (car (cadr answer)) (cdr (cadr answer))))))

(defun smtps-rpc-cancel (peer uid)
  "Cancel the call UID of PEER: its error function hears of it at once."
  (when (gethash uid (smtps-rpc-peer-calls peer))
    (smtps-rpc--send-maybe peer (list 'cancel uid))
    (smtps-rpc--settle peer uid nil
                       (list 'smtps-rpc-cancelled "The call was cancelled"))))

(defun smtps-rpc-event (peer topic plist)
  "Tell PEER of TOPIC, with PLIST.
Signal `smtps-helper-dead' if it has ended."
  (smtps-rpc--send peer `(event ,topic ,@plist)))

(defun smtps-rpc--send-maybe (peer form)
  "Send FORM to PEER, unless it has ended."
  (condition-case nil
      (smtps-rpc--send peer form)
    (smtps-rpc-error nil)))

(defun smtps-rpc--line (form &optional secret)
  "Return the line that FORM is, as octets.
If SECRET leave no other copy of its text behind than this."
  (let* ((bare (smtps-wire-encode form))
         (line (concat bare "\n")))
    (when secret (clear-string bare))
    line))

(defun smtps-rpc--send (peer form &optional secret)
  "Send FORM, which is no call, to PEER; see `smtps-rpc--post'."
  (smtps-rpc--post peer (smtps-rpc--line form secret) form nil secret))

(defun smtps-rpc--post (peer line form &optional uid secret)
  "Send LINE, which is FORM, and the call UID if that is non-nil, to PEER.
Never wait; what does not fit into the pipe is kept.  If SECRET, log only
what it answers, and clear LINE at last.  Signal an `smtps-rpc-error'."
  (unless (smtps-rpc-live-p peer)
    (signal 'smtps-helper-dead
            (if (smtps-rpc-peer-closing peer) '("The smtps helper was stopped")
              (cdr (smtps-rpc--obituary peer)))))
  (smtps-rpc--log peer "->" (if secret (format "(%s %s <masked>)" (car form) (cadr form))
                              (smtps-rpc--outline form)))
  (cond
   ((and (null (smtps-rpc-peer-outbox peer))
         (smtps-rpc--fits-p peer line))
    (smtps-rpc--write peer line uid secret))
   ((> (+ (smtps-rpc-peer-outbox-octets peer) (length line))
       smtps-rpc--outbox-limit)
    (signal 'smtps-rpc-error '("The smtps helper hangs: it reads nothing any more")))
   (t
    (cl-incf (smtps-rpc-peer-outbox-octets peer) (length line))
    (setf (smtps-rpc-peer-outbox peer)
          (nconc (smtps-rpc-peer-outbox peer) (list (list line uid secret)))))))

(defun smtps-rpc--fits-p (peer line)
  "Return non-nil if LINE can be written to PEER without waiting."
  (let ((unread (- (smtps-rpc-peer-written peer) (smtps-rpc-peer-known-read peer))))
    (and
     ;; To write to one that is stopped is an error.
     (eq (process-status (smtps-rpc-peer-process peer)) 'run)
     (or (= unread 0)
         (<= (+ unread (length line))
             (- smtps-rpc--pipe-octets smtps-rpc--probe-octets))))))

(defun smtps-rpc--write (peer line uid secret)
  "Write LINE to PEER; see `smtps-rpc--post' for UID and SECRET.
When much was written since the peer last gave a sign that it reads, call
its method `alive': the answer, whatever it is, is such a sign."
  (cl-incf (smtps-rpc-peer-written peer) (length line))
  (let ((call (and uid (gethash uid (smtps-rpc-peer-calls peer)))))
    (when call
      (setf (nth 3 call) (smtps-rpc-peer-written peer))))
  ;; It may run filters and timers, which come here again: Emacs keeps the
  ;; order.  If it fails the process has ended, which the sentinel will tell.
  (ignore-errors (process-send-string (smtps-rpc-peer-process peer) line))
  (when secret (clear-string line))
  (when (and (not (smtps-rpc-peer-probing peer))
             (>= (- (smtps-rpc-peer-written peer) (smtps-rpc-peer-known-read peer))
                 (/ smtps-rpc--pipe-octets 2)))
    (setf (smtps-rpc-peer-probing peer) t)
    (let* ((probe (cl-incf (smtps-rpc-peer-uid peer)))
           (done (lambda (_) (setf (smtps-rpc-peer-probing peer) nil))))
      (puthash probe (list done done nil nil) (smtps-rpc-peer-calls peer))
      (smtps-rpc--write peer (concat (smtps-wire-encode `(call ,probe alive nil)) "\n")
                        probe nil))))

(defun smtps-rpc--write-waiting (peer)
  "Write to PEER what was kept back and fits now."
  (while (and (smtps-rpc-peer-outbox peer)
              (smtps-rpc--fits-p peer (car (car (smtps-rpc-peer-outbox peer)))))
    (let ((next (pop (smtps-rpc-peer-outbox peer))))
      (cl-decf (smtps-rpc-peer-outbox-octets peer) (length (car next)))
      (apply #'smtps-rpc--write peer next))))

;;;; What comes in

(defun smtps-rpc--heard (peer octets)
  "Take OCTETS from PEER's standard output."
  (pcase-let ((`(,lines . ,rest) (smtps-wire-split (smtps-rpc-peer-rest peer) octets)))
    (setf (smtps-rpc-peer-rest peer) rest)
    (dolist (line lines)
      (cl-incf (smtps-rpc-peer-inbox-octets peer) (length (and (stringp line) line))))
    (setf (smtps-rpc-peer-inbox peer) (nconc (smtps-rpc-peer-inbox peer) lines)))
  (when (> (smtps-rpc-peer-inbox-octets peer) smtps-rpc--inbox-limit)
    (smtps-rpc--pause peer t))
  ;; A filter may be called while a handler of ours waits for something.
  (unless (or (smtps-rpc-peer-busy peer) (smtps-rpc-peer-timer peer))
    (smtps-rpc--work peer)))

(defun smtps-rpc--pause (peer pause)
  "Stop reading PEER if PAUSE, else read it again."
  (unless (or (eq pause (smtps-rpc-peer-paused peer))
              (smtps-rpc-peer-buried peer))
    (setf (smtps-rpc-peer-paused peer) pause)
    (set-process-filter (smtps-rpc-peer-process peer)
                        (or pause
                            (lambda (_process octets) (smtps-rpc--heard peer octets))))))

(defun smtps-rpc--work-soon (peer)
  "Have the messages of PEER that wait handled soon."
  (unless (smtps-rpc-peer-timer peer)
    (setf (smtps-rpc-peer-timer peer)
          (run-at-time smtps-rpc--pause-seconds nil
                       (lambda ()
                         (setf (smtps-rpc-peer-timer peer) nil)
                         (smtps-rpc--work peer))))))

(defun smtps-rpc--work (peer)
  "Handle the next messages of PEER for one slice, and leave others to a timer."
  (let ((until (+ (float-time) smtps-rpc--slice-seconds))
        (busy (smtps-rpc-peer-busy peer))
        (inhibit-quit t))
    (unwind-protect
        (progn
          (setf (smtps-rpc-peer-busy peer) t)
          (while (and (smtps-rpc-peer-inbox peer) (< (float-time) until))
            (let ((line (pop (smtps-rpc-peer-inbox peer))))
              (cl-decf (smtps-rpc-peer-inbox-octets peer)
                       (length (and (stringp line) line)))
              (smtps-rpc--take peer line))))
      (setf (smtps-rpc-peer-busy peer) busy)
      (when (< (smtps-rpc-peer-inbox-octets peer) (/ smtps-rpc--inbox-limit 2))
        (smtps-rpc--pause peer nil))
      (cond
       ((smtps-rpc-peer-inbox peer) (smtps-rpc--work-soon peer))
       ((smtps-rpc-peer-ended peer)
        (smtps-rpc--bury peer (smtps-rpc--obituary peer)))))))

(defun smtps-rpc--take (peer line)
  "Handle one LINE of PEER; whatever it is, nothing is signalled."
  (condition-case err
      (if (eq line 'too-long)
          (signal 'smtps-wire-error '("A line is over the limit"))
        (let ((message (smtps-wire-read (smtps-wire-decode line))))
          (smtps-rpc--log peer "<-" (smtps-rpc--outline message))
          (smtps-rpc--dispatch peer message)
          (setf (smtps-rpc-peer-understood peer) t)))
    (smtps-wire-error (smtps-rpc--bad peer line (cadr err)))
    (error (smtps-rpc--failed peer err))))

(defun smtps-rpc--bad (peer line why)
  "Note that LINE of PEER is no message, because of WHY.
A peer that begins so, or goes on so, is something else and given up."
  (smtps-rpc--log peer "!!" why)
  (cl-incf (smtps-rpc-peer-bad peer))
  (if (and (smtps-rpc-peer-understood peer)
           (< (smtps-rpc-peer-bad peer) smtps-rpc--bad-limit))
      (smtps-rpc--send-maybe peer (list 'epc-error nil why))
    (smtps-rpc-abandon
     peer
     (list 'smtps-wire-error
           (format "The smtps helper said what is no message: %s"
                   (if (stringp line)
                       (smtps-rpc--visible (decode-coding-string line 'utf-8-unix) 60)
                     "a line without end"))))))

(defun smtps-rpc--failed (peer err)
  "Tell of ERR, an error of a function that PEER's words were passed to."
  (smtps-rpc--log peer "!!" (error-message-string err))
  (message "Error in smtps: %s" (error-message-string err)))

(defun smtps-rpc--run (peer function &rest arguments)
  "Call FUNCTION, if it is one, with ARGUMENTS, which are of PEER's making.
Tell its errors, so that others are not kept from what they wait for."
  (when function
    (condition-case err
        (let ((inhibit-quit t))
          (with-temp-buffer
            (save-match-data (apply function arguments))))
      (error (smtps-rpc--failed peer err)))))

(defun smtps-rpc--plist-p (value)
  "Return non-nil if VALUE is a property list of keywords."
  (and (listp value)
       (cl-evenp (length value))
       (cl-loop for (key) on value by #'cddr always (keywordp key))))

(defun smtps-rpc--dispatch (peer message)
  "Do what MESSAGE of PEER asks for; signal `smtps-wire-error' if it is none."
  (pcase message
    (`(return ,uid ,value)
     (smtps-rpc--answered peer uid value nil))
    (`(return-error ,uid (,(and kind (pred symbolp)) ,(and text (pred stringp)) . ,details))
     (smtps-rpc--answered peer uid nil
                          `(smtps-remote-error ,text :kind ,kind ,@details)))
    (`(epc-error ,uid ,(and text (pred stringp)))
     ;; Never answered with another, which would go on for ever.
     (smtps-rpc--answered peer uid nil (list 'smtps-wire-error text)))
    (`(event ,(and topic (pred symbolp)) . ,(and plist (pred smtps-rpc--plist-p)))
     (smtps-rpc--run peer (smtps-rpc-peer-on-event peer) topic plist))
    (`(call ,(and uid (pred integerp)) ,(and method (pred symbolp))
            . ,(or (and 'nil (let args nil))
                   `(,(and args (pred smtps-rpc--plist-p)))))
     (smtps-rpc--called peer uid method args))
    (`(methods ,(and uid (pred integerp)))
     (smtps-rpc--send-maybe peer (list 'return uid (smtps-rpc--described peer))))
    ;; Ours are answered at once, so there is nothing left to cancel.
    (`(cancel ,_))
    (_ (signal 'smtps-wire-error '("This is not a message")))))

(defun smtps-rpc--handlers (peer)
  "Return the alist of what PEER may call."
  (let ((handlers (smtps-rpc-peer-handlers peer)))
    (if (symbolp handlers) (symbol-value handlers) handlers)))

(defun smtps-rpc--described (peer)
  "Return what PEER may call: lists of name, arguments and docstring."
  (mapcar (pcase-lambda (`(,method ,function . ,_))
            (list method ""
                  (or (and (symbolp function)
                           (car (split-string (or (documentation function t) "") "\n")))
                      "")))
          (smtps-rpc--handlers peer)))

(defun smtps-rpc--called (peer uid method args)
  "Answer PEER's call UID of METHOD with ARGS."
  (pcase-let ((`(,function . ,secret) (alist-get method (smtps-rpc--handlers peer))))
    (if (not function)
        (smtps-rpc--refuse peer uid 'unknown-method
                           (format "There is no method `%s'" method))
      (condition-case err
          (smtps-rpc--send peer
                           (list 'return uid
                                 (with-temp-buffer
                                   (save-match-data (funcall function args))))
                           secret)
        ;; The peer is gone, and so is who asked.
        (smtps-helper-dead nil)
        (error
         (let ((ours (memq 'smtps-error (get (car err) 'error-conditions))))
           (smtps-rpc--refuse
            peer uid (if ours (car err) 'emacs)
            (cond (secret "An error in Emacs")
                  ((and ours (stringp (cadr err))) (cadr err))
                  ((memq (car err) '(error user-error)) (error-message-string err))
                  ;; The text of others is Lisp.
                  (t (format "An error in Emacs: %s" (car err)))))))))))

(defun smtps-rpc--refuse (peer uid kind text)
  "Answer PEER's call UID with an error of KIND and TEXT."
  (smtps-rpc--send-maybe
   peer (list 'return-error uid (list kind (smtps-rpc--visible text 1000)))))

(defun smtps-rpc--answered (peer uid value err)
  "Take PEER's answer to the call UID: VALUE, or ERR if that is non-nil."
  (let ((call (gethash uid (smtps-rpc-peer-calls peer))))
    (when call
      ;; It has read all that was written before, too.
      (when (nth 3 call)
        (setf (smtps-rpc-peer-known-read peer)
              (max (nth 3 call) (smtps-rpc-peer-known-read peer))))
      (smtps-rpc--settle peer uid value err)
      (smtps-rpc--write-waiting peer))))

(defun smtps-rpc--settle (peer uid value err)
  "End the call UID of PEER: with VALUE, or with ERR if that is non-nil."
  (pcase (gethash uid (smtps-rpc-peer-calls peer))
    (`(,then ,else ,timer ,_)
     (remhash uid (smtps-rpc-peer-calls peer))
     (when timer (cancel-timer timer))
     (if err
         (smtps-rpc--run peer else err)
       (smtps-rpc--run peer then value)))))

;;;; Log

(defun smtps-rpc--visible (text limit)
  "Return the first LIMIT characters of TEXT, its control characters as `?'."
  (let ((case-fold-search nil))
    (truncate-string-to-width
     (replace-regexp-in-string "[\0-\37\177-\u009f\x3fff80-\x3fffff]" "?" text t t)
     limit nil nil "...")))

;; No string is logged, since any may be a secret: a line typed by hand, an
;; answer with a password.  But what is told of an error is for people.
(defun smtps-rpc--outline (message)
  "Return MESSAGE in short for the log, without its strings."
  (pcase message
    (`(return-error ,uid (,kind ,text . ,_)) (format "(return-error %s (%s %S ...))" uid kind text))
    (`(epc-error ,uid ,text) (format "(epc-error %s %S)" uid text))
    (_ (let (print-length print-level print-circle print-gensym)
         (format "%s" (smtps-rpc--masked message 2))))))

(defun smtps-rpc--masked (value depth)
  "Return VALUE, DEPTH lists deep, with symbols for its strings and other lists."
  (cond ((stringp value) (make-symbol (format "<%d characters>" (length value))))
        ((atom value) value)
        ((= depth 0) '<list>)
        (t (mapcar (lambda (inner) (smtps-rpc--masked inner (1- depth)))
                   (seq-take value 24)))))

(defun smtps-rpc-log-buffer (name)
  "Return the buffer with the log of the peer named NAME, which is bounded."
  (get-buffer-create (format " *%s log*" name)))

(defun smtps-rpc--log (peer mark text)
  "Append TEXT, with MARK before it, to the log of PEER."
  (with-current-buffer (smtps-rpc-log-buffer (smtps-rpc-peer-name peer))
    (let ((inhibit-modification-hooks t))
      (buffer-disable-undo)
      (save-excursion
        (goto-char (point-max))
        (insert mark " " text "\n")
        (when (> (buffer-size) smtps-rpc--log-limit)
          (goto-char (- (point-max) (/ smtps-rpc--log-limit 2)))
          ;; Half a message would be read for another one.
          (search-forward "\n" (1- (point-max)) t)
          (delete-region (point-min) (point)))))))

(provide 'smtps-rpc)
;;; smtps-rpc.el ends here
