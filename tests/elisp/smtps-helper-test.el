;;; smtps-helper-test.el --- Tests of finding, starting and losing the helper  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The helper is the real one, or smtps-rpc-peer.py, which misbehaves in the
;; way that is asked for.  What a person reads is compared word by word.

;;; Code:

(require 'cl-lib)
(require 'ert)
(require 'smtps-helper)

(defconst smtps-helper-test--directory
  (file-name-directory (or load-file-name buffer-file-name))
  "Where this file lies.")

(defconst smtps-helper-test-seconds 20
  "Seconds that anything may take.")

(defvar smtps-helper-test-told nil
  "What was shown in the echo area, last first.")

(defun smtps-helper-test-command (way)
  "Return the command of a helper that behaves in WAY."
  (list (car (smtps-helper--command))
        (expand-file-name "smtps-rpc-peer.py" smtps-helper-test--directory)
        way))

(defmacro smtps-helper-test-with (command &rest body)
  "Evaluate BODY with COMMAND as `smtps-helper-command', and stop the helper."
  (declare (indent 1) (debug t))
  `(let ((smtps-helper-command ,command)
         (smtps-helper--peer nil)
         (smtps-helper--greeted nil)
         (smtps-helper--asked nil)
         (smtps-helper--waiting nil)
         (smtps-helper-death-functions nil)
         (smtps-helper-test-told nil)
         (debug-on-error nil))
     (cl-letf (((symbol-function 'message)
                (lambda (&rest words)
                  (push (apply #'format-message words) smtps-helper-test-told))))
       (unwind-protect
           (progn ,@body)
         (when smtps-helper--peer
           (let ((process (smtps-rpc-peer-process smtps-helper--peer)))
             (smtps-helper-stop)
             (when (process-live-p process)
               (signal-process process 'SIGCONT)
               (delete-process process))))))))

(defun smtps-helper-test-wait (predicate)
  "Wait until PREDICATE returns non-nil, and return that; fail if it takes long."
  (let ((until (+ (float-time) smtps-helper-test-seconds)) value)
    (while (not (setq value (funcall predicate)))
      (when (> (float-time) until)
        (ert-fail (list "Waited in vain" smtps-helper-test-told)))
      (accept-process-output nil 0.01))
    value))

(defun smtps-helper-test-ask (method &optional args)
  "Call METHOD with ARGS, and return (value VALUE), or the error it ended with."
  (let (end)
    (smtps-helper-call method args
                       :then (lambda (value) (setq end (list 'value value)))
                       :else (lambda (err) (setq end err)))
    (smtps-helper-test-wait (lambda () end))))

(defun smtps-helper-test-end (way)
  "Return the error with which a call of a helper that behaves in WAY ends."
  (smtps-helper-test-with (smtps-helper-test-command way)
    (prog1 (smtps-helper-test-ask 'echo '(:value 1))
      (should-not (smtps-helper-live-p))
      (should-not smtps-helper--waiting))))

;;;; One that works

(ert-deftest smtps-helper-test-the-real-one ()
  (smtps-helper-test-with nil
    (let ((answers nil))
      (dotimes (_ 3)
        (smtps-helper-call 'hello '(:version "0.1.0" :wire 1)
                           :then (lambda (value) (push value answers))))
      (should-not answers)
      (smtps-helper-test-wait (lambda () (= (length answers) 3)))
      (should (equal (plist-get (car answers) :version) smtps-helper-version))
      (should (smtps-helper-live-p)))))

(ert-deftest smtps-helper-test-in-order ()
  "What waits for the greeting is asked before what comes later."
  (smtps-helper-test-with (smtps-helper-test-command "serve")
    (let ((answers nil))
      (dotimes (number 20)
        (smtps-helper-call 'echo (list :value number)
                           :then (lambda (value) (push value answers))))
      (smtps-helper-test-wait (lambda () (= (length answers) 20)))
      (should (equal (nreverse answers) (number-sequence 0 19))))))

(ert-deftest smtps-helper-test-what-can-not-be-sent-harms-only-the-caller ()
  (smtps-helper-test-with (smtps-helper-test-command "serve")
    (let ((end nil) (answer nil))
      (smtps-helper-call 'echo '(:value 1) :then (lambda (value) (setq answer value)))
      (smtps-helper-call 'echo '(:value 1.5) :else (lambda (err) (setq end err)))
      (should (eq (car end) 'smtps-wire-error))
      (smtps-helper-test-wait (lambda () answer)))))

(ert-deftest smtps-helper-test-stop-and-start-again ()
  (smtps-helper-test-with (smtps-helper-test-command "serve")
    (let* ((deaths nil)
           (smtps-helper-death-functions (list (lambda (words) (push words deaths))))
           (first (smtps-helper-test-ask 'pid)))
      (smtps-helper-stop)
      (should-not (smtps-helper-live-p))
      (should (equal deaths '("The smtps helper was stopped")))
      (should-not (equal (smtps-helper-test-ask 'pid) first)))))

(ert-deftest smtps-helper-test-the-package-was-upgraded ()
  "A helper of before the upgrade is replaced."
  (smtps-helper-test-with (smtps-helper-test-command "serve")
    (let ((first (smtps-helper-test-ask 'pid)))
      (setq smtps-helper--greeted "0.0.9")
      (should-not (equal (smtps-helper-test-ask 'pid) first)))))

;;;; One that does not run

(ert-deftest smtps-helper-test-missing ()
  (smtps-helper-test-with '("/no/such/helper" "rpc")
    (should (equal (smtps-helper-test-ask 'echo)
                   '(smtps-helper-missing
                     "The program /no/such/helper is not there, or may not be run.  \
See the option smtps-helper-command")))
    ;; Without an ELSE it is told.
    (smtps-helper-call 'echo nil)
    (should (equal smtps-helper-test-told
                   '("smtps: The program /no/such/helper is not there, or may not be run.  \
See the option smtps-helper-command")))))

(ert-deftest smtps-helper-test-no-python ()
  (smtps-helper-test-with nil
    (cl-letf (((symbol-function 'executable-find) #'ignore)
              ((symbol-function 'smtps-helper--installed-directory)
               (lambda () "/no/such/directory"))
              ((symbol-function 'file-executable-p) #'ignore))
      (should (equal (smtps-helper-test-ask 'echo)
                     '(smtps-helper-missing "There is no python3 on this machine; \
install Python 3.11 or newer"))))))

(ert-deftest smtps-helper-test-no-source ()
  (smtps-helper-test-with nil
    (let ((smtps-helper--file "/no/such/place/smtps-helper.el"))
      (should (equal (smtps-helper-test-ask 'echo)
                     '(smtps-helper-missing "The helper's source is not beside \
/no/such/place/; install smtps anew"))))))

(ert-deftest smtps-helper-test-not-a-program ()
  (let ((file (make-temp-file "smtps-helper" nil nil "#!/no/such/interpreter\n")))
    (unwind-protect
        (smtps-helper-test-with (list file)
          (should (equal (smtps-helper-test-ask 'echo)
                         (list 'smtps-helper-missing
                               (format "The program %s is not there, or may not be run.  \
See the option smtps-helper-command" file))))
          (set-file-modes file #o700)
          (let ((end (smtps-helper-test-ask 'echo)))
            (should (memq (car end) '(smtps-helper-missing smtps-helper-dead)))
            (should (string-match-p
                     "\\(?:127\\|started\\).+No such file.+See the option smtps-helper-command"
                     (cadr end)))))
      (delete-file file))))

(ert-deftest smtps-helper-test-what-it-lacks ()
  (should (equal (smtps-helper-test-end "lacking")
                 '(smtps-helper-missing "The smtps helper can't run: The library \
sexpdata is not installed.  See the option smtps-helper-command"))))

(ert-deftest smtps-helper-test-dies-at-once ()
  (should (equal (smtps-helper-test-end "dying")
                 '(smtps-helper-dead "The smtps helper has ended (status 3): it is \
all over.  See the option smtps-helper-command"))))

(ert-deftest smtps-helper-test-too-old ()
  (should (equal (smtps-helper-test-end "old")
                 '(smtps-helper-too-old "The smtps helper is of version 0.0.1, older \
than this package (0.1.0).  See the option smtps-helper-command"))))

(ert-deftest smtps-helper-test-unfit ()
  "A helper of another kind, or newer than what is loaded, is not used."
  (dolist (case '((nil "not the smtps helper") ("garbage" "not the smtps helper")
                  ((:version "x.y" :wire 1) "not the smtps helper")
                  ((:version "0.1.0" :wire 0) "older than this package")
                  ((:version "0.2.0" :wire 2) "Restart Emacs")))
    (let ((err (smtps-helper--unfit (car case))))
      (should (eq (car err) 'smtps-helper-too-old))
      (should (string-search (cadr case) (cadr err)))))
  (should-not (smtps-helper--unfit '(:version "0.2.0" :wire 1))))

(ert-deftest smtps-helper-test-garbage ()
  (should (equal (smtps-helper-test-end "garbage")
                 '(smtps-wire-error "The smtps helper said what is no message: Welcome \
to ?[1mnothing?[0m that you know.  See the option smtps-helper-command")))
  (should (equal (smtps-helper-test-end "endless")
                 '(smtps-wire-error "The smtps helper said what is no message: a line \
without end.  See the option smtps-helper-command"))))

(ert-deftest smtps-helper-test-says-nothing ()
  (let ((smtps-helper-hello-seconds 1))
    (should (equal (smtps-helper-test-end "silent")
                   '(smtps-helper-dead "The smtps helper did not answer within 1 \
seconds.  See the option smtps-helper-command")))))

(ert-deftest smtps-helper-test-advice-where-no-command-is-set ()
  (smtps-helper-test-with nil
    (should (string-suffix-p
             "M-x smtps-install-helper may mend it"
             (cadr (smtps-helper--why-not '(smtps-helper-dead "It has ended.")))))))

(ert-deftest smtps-helper-test-all-who-wait-are-told-once ()
  (smtps-helper-test-with (smtps-helper-test-command "dying")
    (let ((ends nil))
      (dotimes (number 3)
        (smtps-helper-call 'echo nil :else (lambda (_err) (push number ends))))
      (smtps-helper-test-wait (lambda () (= (length ends) 3)))
      (should (equal ends '(2 1 0)))
      ;; Another try starts another.
      (should (eq (car (smtps-helper-test-ask 'echo)) 'smtps-helper-dead)))))

;;;; One that ends or hangs later

(ert-deftest smtps-helper-test-killed ()
  (smtps-helper-test-with (smtps-helper-test-command "serve")
    (let* ((deaths nil)
           (smtps-helper-death-functions
            ;; The mistake of one does not keep the news from another.
            (list (lambda (_) (error "Mistake")) (lambda (words) (push words deaths))))
           (first (smtps-helper-test-ask 'pid)))
      (signal-process (cadr first) 'SIGKILL)
      (smtps-helper-test-wait (lambda () deaths))
      (should (equal deaths '("The smtps helper was killed (signal 9)")))
      (should (member "smtps: The smtps helper was killed (signal 9)"
                      smtps-helper-test-told))
      (should-not (equal (smtps-helper-test-ask 'pid) first)))))

(ert-deftest smtps-helper-test-hangs ()
  "One that hangs is given up, and replaced by the next call."
  (smtps-helper-test-with (smtps-helper-test-command "serve")
    (let* ((smtps-helper-alive-seconds 1)
           (deaths nil)
           (smtps-helper-death-functions (list (lambda (words) (push words deaths))))
           (first (cadr (smtps-helper-test-ask 'pid)))
           (process (smtps-rpc-peer-process smtps-helper--peer)))
      (unwind-protect
          (progn
            (smtps-helper-test-wait (lambda () (not smtps-helper--asked)))
            (signal-process first 'SIGSTOP)
            (should (equal (smtps-helper-test-ask 'echo)
                           '(smtps-helper-dead "The smtps helper hangs: it did not \
answer within 1 seconds")))
            (should (= (length deaths) 1))
            (should-not (smtps-helper-live-p))
            ;; It may be in the middle of something: it is not killed.
            (should (memq (process-status process) '(run stop)))
            (should-not (equal (cadr (smtps-helper-test-ask 'pid)) first)))
        (signal-process first 'SIGCONT)
        (smtps-helper-test-wait (lambda () (not (process-live-p process))))))))

(ert-deftest smtps-helper-test-a-call-may-take-its-time ()
  (smtps-helper-test-with (smtps-helper-test-command "serve")
    (let ((smtps-helper-alive-seconds 0.5)
          (begun (float-time)))
      (smtps-helper-call 'wait nil :else #'ignore)
      (smtps-helper-test-wait (lambda () (> (float-time) (+ begun 1.5))))
      (should (smtps-helper-live-p))
      (should (equal (smtps-helper-test-ask 'echo '(:value 1)) '(value 1))))))

(ert-deftest smtps-helper-test-a-busy-emacs-blames-nobody ()
  "What came while Emacs was busy is heard before a call is given up."
  (smtps-helper-test-with (smtps-helper-test-command "serve")
    (let ((smtps-helper-alive-seconds 0.5))
      (smtps-helper-test-ask 'echo)
      (smtps-helper-test-wait (lambda () (not smtps-helper--asked)))
      (let (end)
        (smtps-helper-call 'echo '(:value 1) :timeout 0.5
                           :then (lambda (value) (setq end value))
                           :else (lambda (err) (setq end err)))
        ;; Not `sleep-for', which would read.
        (call-process "sleep" nil nil nil "1")
        (smtps-helper-test-wait (lambda () end))
        (should (equal end 1)))
      (should (smtps-helper-live-p)))))

;;;; Install

(ert-deftest smtps-helper-test-install-tells-why-not ()
  (smtps-helper-test-with nil
    (dolist (way '(("echo why; exit 1" "could not be installed.+\\*smtps install\\*")
                   ("exit 0" "is installed")))
      (cl-letf (((symbol-function 'smtps-helper--installer)
                 (lambda () (list "/bin/sh" "-c" (car way)))))
        (smtps-install-helper)
        (smtps-helper-test-wait
         (lambda () (string-match-p (cadr way) (car smtps-helper-test-told))))))
    (with-current-buffer "*smtps install*"
      (should (string-search "why" (buffer-string)))
      (kill-buffer))
    (should-not (get-buffer " *smtps install*"))))

(provide 'smtps-helper-test)
;;; smtps-helper-test.el ends here
