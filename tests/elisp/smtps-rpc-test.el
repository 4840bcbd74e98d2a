;;; smtps-rpc-test.el --- Tests of calls and events  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The other side is smtps-rpc-peer.py, which runs the helper's own peer, or
;; misbehaves in the way that is asked for.

;;; Code:

(require 'cl-lib)
(require 'ert)
(require 'smtps-rpc)

(defconst smtps-rpc-test--directory
  (file-name-directory (or load-file-name buffer-file-name))
  "Where this file lies.")

(defun smtps-rpc-test-command (way)
  "Return the command of a peer that behaves in WAY."
  (let ((own (expand-file-name "../../.venv/bin/python" smtps-rpc-test--directory)))
    (list (if (file-executable-p own) own "python3")
          (expand-file-name "smtps-rpc-peer.py" smtps-rpc-test--directory)
          way)))

(defvar smtps-rpc-test--events nil "Events heard, (TOPIC . PLIST), last first.")
(defvar smtps-rpc-test--deaths nil "Errors that deaths were told with.")

(defun smtps-rpc-test--wait (predicate)
  "Wait until PREDICATE returns non-nil, and return that; fail after 20 seconds."
  (let ((until (+ (float-time) 20)) value)
    (while (not (setq value (funcall predicate)))
      (when (> (float-time) until)
        (ert-fail "Waited in vain"))
      (accept-process-output nil 0.01))
    value))

(defmacro smtps-rpc-test--with-peer (peer way keys &rest body)
  "Start a peer that behaves in WAY, with KEYS, as PEER, and evaluate BODY."
  (declare (indent 3) (debug (symbolp form form body)))
  `(let* ((smtps-rpc-test--events nil)
          (smtps-rpc-test--deaths nil)
          (buffers (buffer-list))
          (,peer (apply #'smtps-rpc-start
                        (append
                         ,keys
                         (list :name "peer" :command (smtps-rpc-test-command ,way)
                               :on-event (lambda (topic plist)
                                           (push (cons topic plist) smtps-rpc-test--events))
                               :on-death (lambda (err)
                                           (push err smtps-rpc-test--deaths))))))
          (log (smtps-rpc-log-buffer "peer"))
          (process (smtps-rpc-peer-process ,peer))
          (passed nil))
     (ignore log process)
     (unwind-protect
         (prog1 (progn ,@body)
           ;; Nothing that a user could kill, or would have to.
           (should-not (cl-remove-if (lambda (buffer)
                                       (string-prefix-p " *code-conver" (buffer-name buffer)))
                                     (cl-set-difference (buffer-list) (cons log buffers))))
           (setq passed t))
       (unless passed
         (message "%s" (with-current-buffer log (buffer-string))))
       (setf (smtps-rpc-peer-on-death ,peer) nil)
       (when (process-live-p process)
         (signal-process process 'SIGCONT)
         (delete-process process))
       (kill-buffer log))))

(defun smtps-rpc-test--error (peer method args &optional timeout)
  "Return the error that METHOD of PEER with ARGS ends with.
TIMEOUT is that of `smtps-rpc-request'."
  (condition-case err
      (ert-fail (list "No error" (smtps-rpc-request peer method args timeout)))
    (smtps-rpc-error err)))

;;;; Calls

(ert-deftest smtps-rpc-test-values-go-there-and-back ()
  (smtps-rpc-test--with-peer peer "serve" nil
    (dolist (value (list nil t 0 most-positive-fixnum most-negative-fixnum
                         "" "é\n\0\e \"\\" 'symbol :keyword '(1 (2 nil) "x")))
      (should (equal (smtps-rpc-request peer 'echo (list :value value)) value)))))

(ert-deftest smtps-rpc-test-largest-message ()
  (smtps-rpc-test--with-peer peer "serve" nil
    (let ((text (make-string 65000 ?x)))
      (dotimes (_ 5)
        (should (equal (smtps-rpc-request peer 'echo (list :value text)) text))))
    (should-error (smtps-rpc-request peer 'echo (list :value (make-string 65530 ?x)))
                  :type 'smtps-wire-error)
    (should (smtps-rpc-live-p peer))))

(ert-deftest smtps-rpc-test-call-returns-before-its-answer ()
  (smtps-rpc-test--with-peer peer "serve" nil
    (let* ((answers nil)
           (uids (cl-loop for number below 50
                          collect (smtps-rpc-call
                                   peer 'echo (list :value number)
                                   :then (lambda (value) (push value answers))
                                   :else #'ignore))))
      (should-not answers)
      (should (equal (delete-dups (copy-sequence uids)) uids))
      (smtps-rpc-test--wait (lambda () (= (length answers) 50)))
      (should (equal (nreverse answers) (number-sequence 0 49)))
      (should (= (hash-table-count (smtps-rpc-peer-calls peer)) 0)))))

(ert-deftest smtps-rpc-test-errors-of-the-peer ()
  (smtps-rpc-test--with-peer peer "serve" nil
    (should (equal (smtps-rpc-test--error peer 'fail nil)
                   '(smtps-remote-error "It was put together wrongly."
                                        :kind usage :where "here" :count 3)))
    (should (eq (plist-get (cddr (smtps-rpc-test--error peer 'no-such nil)) :kind)
                'unknown-method))
    (let ((err (smtps-rpc-test--error peer 'crash nil)))
      (should (eq (plist-get (cddr err) :kind) 'internal))
      (should-not (string-search "hunter2" (format "%S" err))))
    (should (smtps-rpc-request peer 'echo '(:value t)))))

(ert-deftest smtps-rpc-test-peer-calls-emacs ()
  (smtps-rpc-test--with-peer peer "serve"
      (list :handlers
            `((double ,(lambda (args) (* 2 (plist-get args :value))))
              (context ,(lambda (_)
                          (list (string-prefix-p " " (buffer-name)) inhibit-quit)))
              (fail ,(lambda (_) (error "Not %s" "today")))
              (wire-fail ,(lambda (_) (list 1.5)))
              (ours ,(lambda (_) (signal 'smtps-rpc-cancelled '("A sentence."))))
              (secret ,(lambda (_) (error "It is hunter2")) . t)))
    (should (equal (smtps-rpc-request peer 'call-back '(:method double :value 21))
                   '("called" 42)))
    (should (equal (smtps-rpc-request peer 'call-back '(:method context))
                   '("called" (t t))))
    (cl-flet ((refusal (method)
                (cadr (smtps-rpc-test--error peer 'call-back (list :method method)))))
      (should (equal (refusal 'fail) "Not today"))
      (should (equal (refusal 'ours) "A sentence."))
      (should (string-search "float" (refusal 'wire-fail)))
      (should (equal (refusal 'secret) "An error in Emacs"))
      (should (string-search "no method" (refusal 'unknown))))))

(ert-deftest smtps-rpc-test-handlers-may-come-later ()
  (defvar smtps-rpc-test--handlers)
  (let ((smtps-rpc-test--handlers nil))
    (smtps-rpc-test--with-peer peer "serve" (list :handlers 'smtps-rpc-test--handlers)
      (push (list 'late (lambda (_) 'here)) smtps-rpc-test--handlers)
      (should (equal (smtps-rpc-request peer 'call-back '(:method late))
                     '("called" here))))))

(ert-deftest smtps-rpc-test-time-out-cancels ()
  (smtps-rpc-test--with-peer peer "serve" nil
    (let* ((end nil)
           (uid (smtps-rpc-call peer 'wait nil
                                :else (lambda (err) (setq end err))))
           (timer (nth 2 (gethash uid (smtps-rpc-peer-calls peer)))))
      ;; A call that is cancelled before the peer has come to it never begins.
      (smtps-rpc-request peer 'echo nil)
      (cancel-timer timer)
      (timer-set-time timer nil)
      (timer-activate timer)
      (smtps-rpc-test--wait (lambda () end))
      (should (eq (car end) 'smtps-rpc-timeout))
      (should (= (smtps-rpc-request peer 'how-many-cancelled nil) 1))
      (should (= (hash-table-count (smtps-rpc-peer-calls peer)) 0)))))

(ert-deftest smtps-rpc-test-time-out-is-in-time ()
  (smtps-rpc-test--with-peer peer "serve" nil
    (should (eq (car (smtps-rpc-test--error peer 'wait nil 0.05)) 'smtps-rpc-timeout))
    (should (= (hash-table-count (smtps-rpc-peer-calls peer)) 0))
    ;; An answer that comes too late is nobody's.
    (should (= (smtps-rpc-request peer 'echo '(:value 1)) 1))))

(ert-deftest smtps-rpc-test-cancel-ends-the-call-once ()
  (smtps-rpc-test--with-peer peer "serve" nil
    (let* ((ends nil)
           (uid (smtps-rpc-call peer 'wait nil
                                :then (lambda (value) (push value ends))
                                :else (lambda (err) (push (car err) ends)))))
      (smtps-rpc-request peer 'echo nil)
      (smtps-rpc-cancel peer uid)
      (should (equal ends '(smtps-rpc-cancelled)))
      (smtps-rpc-cancel peer uid)
      (should (= (smtps-rpc-request peer 'how-many-cancelled nil) 1))
      (should (equal ends '(smtps-rpc-cancelled))))))

(ert-deftest smtps-rpc-test-quitting-a-request-cancels ()
  (smtps-rpc-test--with-peer peer "serve" nil
    (let* ((begun nil)
           (timer (run-at-time
                   0.01 0.01
                   (lambda ()
                     (pcase begun
                       ('nil
                        (setq begun 'asked)
                        (smtps-rpc-call peer 'echo nil
                                        :then (lambda (_) (setq begun 'yes))))
                       ('yes (throw 'quit 'left)))))))
      (unwind-protect
          (should (eq (catch 'quit (smtps-rpc-request peer 'wait nil)) 'left))
        (cancel-timer timer))
      (should (= (smtps-rpc-request peer 'how-many-cancelled nil) 1)))))

;;;; Events

(ert-deftest smtps-rpc-test-events-either-way ()
  (smtps-rpc-test--with-peer peer "serve" nil
    (smtps-rpc-event peer 'note '(:a 1))
    (smtps-rpc-event peer 'unknown '(:a 1))
    (smtps-rpc-event peer 'note '(:b "x"))
    (should (equal (smtps-rpc-request peer 'heard nil) '((:a 1) (:b "x"))))
    (smtps-rpc-request peer 'flood '(:count 3 :text "t"))
    (should (equal (reverse smtps-rpc-test--events)
                   '((flood :number 0 :text "t") (flood :number 1 :text "t")
                     (flood :number 2 :text "t"))))))

(ert-deftest smtps-rpc-test-mistake-in-a-handler-stops-nobody ()
  (let ((calls 0))
    (smtps-rpc-test--with-peer peer "serve"
        (list :on-event (lambda (_topic _plist) (cl-incf calls) (error "Mistake")))
      (should (eq (smtps-rpc-request peer 'flood '(:count 3 :text "t")) 'done))
      (should (= calls 3))
      (smtps-rpc-call peer 'echo nil :then (lambda (_) (error "Mistake")))
      (should (equal (smtps-rpc-request peer 'echo '(:value 1)) 1)))))

(ert-deftest smtps-rpc-test-handler-may-wait-for-a-call ()
  (let (peer heard)
    (smtps-rpc-test--with-peer one "serve"
        (list :on-event (lambda (_topic plist)
                          (push (smtps-rpc-request
                                 peer 'echo (list :value (plist-get plist :number)))
                                heard)))
      (setq peer one)
      (should (eq (smtps-rpc-request one 'flood '(:count 2 :text "t")) 'done))
      (smtps-rpc-test--wait (lambda () (= (length heard) 2)))
      (should (equal (sort heard #'<) '(0 1))))))

(ert-deftest smtps-rpc-test-flood-lets-emacs-live ()
  "A flood is handled in slices and not piled up, and nothing is lost."
  (let* ((count 20000) (next 0) (most 0) (ticks 0) (longest 0) (last nil)
         (timer nil) (gc (float-time)) peer)
    (smtps-rpc-test--with-peer one "serve"
        (list :on-event (lambda (_topic plist)
                          (when (= (plist-get plist :number) next)
                            (cl-incf next))
                          (setq most (max most (smtps-rpc-peer-inbox-octets peer)))))
      (setq peer one
            timer (run-at-time
                   0 0.002
                   (lambda ()
                     (cl-incf ticks)
                     (let ((now (- (float-time) gc-elapsed)))
                       (when last (setq longest (max longest (- now last))))
                       (setq last now)))))
      (unwind-protect
          (should (eq (smtps-rpc-request one 'flood
                                         (list :count count :text (make-string 200 ?x)))
                      'done))
        (cancel-timer timer))
      (should (= next count))
      (should (> ticks 20))
      (message "flood: %d events in %.1f s, longest without a timer %.0f ms, %d octets waiting"
               count (- (float-time) gc) (* 1000 longest) most)
      (should (<= most (+ smtps-rpc--inbox-limit 65536)))
      ;; Twenty milliseconds on a quiet machine; this one may be shared.
      (should (< longest 0.2)))))

;;;; What Emacs writes

(defun smtps-rpc-test--send-much (peer)
  "Call `echo' of PEER 400 times with 1 KB each, without waiting.
Return a list whose car becomes the values that came back, last first."
  (let ((answers (list nil)) (begun (- (float-time) gc-elapsed)) (longest 0))
    (dotimes (number 400)
      (let ((at (- (float-time) gc-elapsed)))
        (smtps-rpc-call peer 'echo (list :value number :text (make-string 1000 ?x))
                        :then (lambda (value) (push value (car answers))))
        (setq longest (max longest (- (float-time) gc-elapsed at)))))
    (message "write: 400 KB in %.0f ms, longest call %.1f ms"
             (* 1000 (- (float-time) gc-elapsed begun)) (* 1000 longest))
    (should (< longest 0.5))
    (should-not (car answers))
    (should (smtps-rpc-peer-outbox peer))
    answers))

(defun smtps-rpc-test--much-came-back (peer answers)
  "Wait until PEER has answered all, and what led to ANSWERS in order."
  (smtps-rpc-test--wait (lambda () (= (hash-table-count (smtps-rpc-peer-calls peer)) 0)))
  (should (equal (reverse (car answers)) (number-sequence 0 399)))
  (should-not (smtps-rpc-peer-outbox peer))
  (should (= (smtps-rpc-peer-outbox-octets peer) 0)))

(ert-deftest smtps-rpc-test-peer-that-does-not-read-never-blocks-emacs ()
  (smtps-rpc-test--with-peer peer "deaf" nil
    (smtps-rpc-request peer 'hello nil)
    (let ((answers (smtps-rpc-test--send-much peer))
          (refused nil)
          (kept 0))
      ;; More than is kept: an error, still no waiting.
      (dotimes (_ 30)
        (smtps-rpc-call peer 'echo (list :text (make-string 60000 ?x))
                        :then (lambda (_) (cl-incf kept))
                        :else (lambda (err) (push err refused))))
      (smtps-rpc-test--wait (lambda () refused))
      (should (string-search "hangs" (cadr (car refused))))
      (should (<= (smtps-rpc-peer-outbox-octets peer) smtps-rpc--outbox-limit))
      (signal-process process 'SIGUSR1)
      (smtps-rpc-test--much-came-back peer answers)
      (should (= (+ kept (length refused)) 30))
      (should (smtps-rpc-request peer 'echo '(:value t))))))

(ert-deftest smtps-rpc-test-stopped-peer-misses-nothing ()
  (smtps-rpc-test--with-peer peer "serve" nil
    (smtps-rpc-call peer 'stop nil)
    (smtps-rpc-test--wait (lambda () (eq (process-status process) 'stop)))
    (let ((answers (smtps-rpc-test--send-much peer)))
      (signal-process process 'SIGCONT)
      (smtps-rpc-test--much-came-back peer answers))))

;;;; Death

(ert-deftest smtps-rpc-test-missing-program ()
  (let* ((processes (process-list))
         (err (should-error (smtps-rpc-start :name "peer" :command '("/no/such/program"))
                            :type 'smtps-helper-missing)))
    (should (string-search "/no/such/program" (cadr err)))
    (should (equal (process-list) processes))))

(ert-deftest smtps-rpc-test-death-fails-every-call ()
  (smtps-rpc-test--with-peer peer "serve" nil
    (let ((ends nil))
      (smtps-rpc-request peer 'complain '(:text "smtps: this is why\n"))
      (dotimes (number 3)
        (smtps-rpc-call peer 'wait nil
                        :else (lambda (err) (push (cons number err) ends))))
      (smtps-rpc-call peer 'exit '(:status "3"))
      (smtps-rpc-test--wait (lambda () smtps-rpc-test--deaths))
      (should (equal (mapcar #'car (nreverse ends)) '(0 1 2)))
      (should (equal (cl-subseq (car smtps-rpc-test--deaths) 0 2)
                     '(smtps-helper-dead
                       "The smtps helper has ended (status 3): this is why")))
      (should (= (length smtps-rpc-test--deaths) 1))
      (should-not (smtps-rpc-live-p peer))
      (should-error (smtps-rpc-event peer 'note nil) :type 'smtps-helper-dead)
      ;; A call of the dead is an error too, but later.
      (let ((end nil))
        (smtps-rpc-call peer 'echo nil :else (lambda (err) (setq end err)))
        (should-not end)
        (smtps-rpc-test--wait (lambda () end))
        (should (eq (car end) 'smtps-helper-dead))))))

(ert-deftest smtps-rpc-test-killed-peer ()
  (smtps-rpc-test--with-peer peer "serve" nil
    (smtps-rpc-request peer 'echo nil)
    (smtps-rpc-call peer 'wait nil)
    (signal-process process 'SIGKILL)
    (smtps-rpc-test--wait (lambda () smtps-rpc-test--deaths))
    (should (equal (cadr (car smtps-rpc-test--deaths))
                   "The smtps helper was killed (signal 9)"))))

(ert-deftest smtps-rpc-test-last-messages-come-before-death ()
  (smtps-rpc-test--with-peer peer "serve" nil
    (let ((result nil))
      (smtps-rpc-call peer 'flood '(:count 3000 :text "t")
                      :then (lambda (value) (setq result value)))
      (smtps-rpc-close peer)
      (smtps-rpc-test--wait (lambda () smtps-rpc-test--deaths))
      (should (equal (car (car smtps-rpc-test--events)) 'farewell))
      (ignore result))))

(ert-deftest smtps-rpc-test-close-lets-the-peer-exit ()
  (smtps-rpc-test--with-peer peer "serve" nil
    (let ((end nil))
      (smtps-rpc-request peer 'echo nil)
      (smtps-rpc-call peer 'wait nil :else (lambda (err) (setq end err)))
      (smtps-rpc-close peer)
      (should-not (smtps-rpc-live-p peer))
      (smtps-rpc-test--wait (lambda () smtps-rpc-test--deaths))
      (should (eq (process-status process) 'exit))
      (should (= (process-exit-status process) 0))
      (should (equal (cadr (car smtps-rpc-test--deaths)) "The smtps helper was stopped"))
      ;; By the peer's last answer, or by its end.
      (should (memq (car end) '(smtps-remote-error smtps-helper-dead)))
      (should (equal smtps-rpc-test--events '((farewell)))))))

(ert-deftest smtps-rpc-test-close-while-it-is-stopped ()
  (smtps-rpc-test--with-peer peer "serve" nil
    (smtps-rpc-call peer 'stop nil)
    (smtps-rpc-test--wait (lambda () (eq (process-status process) 'stop)))
    (smtps-rpc-close peer)
    (should-not (smtps-rpc-live-p peer))
    (signal-process process 'SIGCONT)
    (smtps-rpc-test--wait (lambda () smtps-rpc-test--deaths))
    (should (eq (process-status process) 'exit))))

;;;; Nonsense

(ert-deftest smtps-rpc-test-garbage-from-the-start ()
  (smtps-rpc-test--with-peer peer "garbage" nil
    (let ((err (smtps-rpc-test--error peer 'hello nil 20)))
      (should (eq (car err) 'smtps-wire-error))
      (should (string-search "Welcome to ?[1mnothing" (cadr err))))
    (smtps-rpc-test--wait (lambda () (not (process-live-p process))))
    (should (= (length smtps-rpc-test--deaths) 1))))

(ert-deftest smtps-rpc-test-endless-line ()
  (smtps-rpc-test--with-peer peer "endless" nil
    (should (eq (car (smtps-rpc-test--error peer 'hello nil 20)) 'smtps-wire-error))
    (smtps-rpc-test--wait (lambda () (not (process-live-p process))))))

(ert-deftest smtps-rpc-test-bad-line-is-passed-over ()
  (smtps-rpc-test--with-peer peer "serve" nil
    (smtps-rpc-request peer 'echo nil)
    (dolist (line '("(a . b)" "(return)" "(event)" "(event 1)" "(event x :a)" "(call 1)"
                    "(call 1 x (a))" "(nonsense 1)" "7" "" "(return-error 1 (x))"
                    "(return 77 nil)" "(epc-error nil \"?\")" "(cancel 5)" "(methods 9)"))
      (should-not (smtps-rpc-request peer 'say (list :line line))))
    (should (smtps-rpc-request peer 'echo '(:value t)))
    (should-not smtps-rpc-test--events)
    ;; But not for ever.
    (should (eq (car (catch 'end
                       (dotimes (_ 200)
                         (condition-case err
                             (smtps-rpc-request peer 'say '(:line "nonsense"))
                           (smtps-rpc-error (throw 'end err))))))
                'smtps-wire-error))
    (should (= (length smtps-rpc-test--deaths) 1))
    ;; It was understood before, so it is left to end by itself.
    (smtps-rpc-test--wait (lambda () (not (process-live-p process))))
    (should (eq (process-status process) 'exit))))

;;;; Surroundings

(ert-deftest smtps-rpc-test-remote-directory ()
  (let ((default-directory "/ssh:nowhere.invalid:/tmp/"))
    (smtps-rpc-test--with-peer peer "serve" nil
      (should (equal (smtps-rpc-request peer 'directory nil) "/")))))

(ert-deftest smtps-rpc-test-match-data-and-buffer-stay ()
  (smtps-rpc-test--with-peer peer "serve"
      (list :on-event (lambda (_topic _plist)
                        (string-match "x" "xxx")
                        (set-buffer (get-buffer-create "*scratch*"))))
    (with-temp-buffer
      (let ((buffer (current-buffer)))
        (string-match "b" "abc")
        (smtps-rpc-request peer 'flood '(:count 3 :text "t"))
        (should (equal (match-beginning 0) 1))
        (should (eq (current-buffer) buffer))))))

(ert-deftest smtps-rpc-test-log-has-no-strings ()
  (smtps-rpc-test--with-peer peer "serve"
      (list :handlers `((credentials ,(lambda (_) (list :user "marco" :password "hunter2")) . t)))
    (smtps-rpc-request peer 'call-back '(:method credentials))
    (smtps-rpc-request peer 'echo '(:value ("hunter2" (("hunter2")))))
    (smtps-rpc-event peer 'note '(:line "hunter2"))
    (smtps-rpc-request peer 'flood '(:count 1 :text "hunter2"))
    (with-current-buffer log
      (should-not (string-search "hunter2" (buffer-string)))
      (should-not (string-search "marco" (buffer-string)))
      (should (string-search "(return 1 <masked>)" (buffer-string)))
      (should (string-search "(event note (:line" (replace-regexp-in-string
                                                   "event note :line" "event note (:line"
                                                   (buffer-string)))))))

(ert-deftest smtps-rpc-test-log-is-bounded ()
  (smtps-rpc-test--with-peer peer "serve" nil
    (smtps-rpc-request peer 'flood '(:count 5000 :text "t"))
    (with-current-buffer log
      (should (<= (buffer-size) smtps-rpc--log-limit))
      (should (> (buffer-size) (/ smtps-rpc--log-limit 4)))
      ;; It begins with a whole message.
      (should (string-match-p "\\`\\(?:->\\|<-\\) (" (buffer-string)))
      (should (eq buffer-undo-list t)))))

(provide 'smtps-rpc-test)
;;; smtps-rpc-test.el ends here
