;;; smtps-outbox-ui-test.el --- The outbox as it is shown  -*- lexical-binding: t; -*-

;; Copyright (C) 2026 The smtps authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

(require 'smtps-real)
(require 'smtps-outbox-ui)

(defun smtps-outbox-ui-test-shown ()
  "Return what the list of the outbox shows, looking at it by itself."
  (with-current-buffer "*smtps outbox*"
    (buffer-substring-no-properties (point-min) (point-max))))

(defun smtps-outbox-ui-test-line (regexp)
  "Return the line of the list that matches REGEXP, or nil."
  (cl-find-if (lambda (line) (string-match-p regexp line))
              (split-string (smtps-outbox-ui-test-shown) "\n" t)))

(defmacro smtps-outbox-ui-test-with (&rest body)
  "Evaluate BODY with the helper, and the sandbox as the one account."
  (declare (indent 0) (debug t))
  `(smtps-real-with
     (smtps-real-own-account)
     ,@body))

(defun smtps-outbox-ui-test-put (state &optional text)
  "Put a mail to three, as octets in TEXT, into STATE; return its id."
  (with-temp-buffer
    (set-buffer-multibyte nil)
    (insert (or text "From: f@x.example\nTo: a@x.example, b@x.example\n\
Subject: From a file\nMessage-ID: <1@x.example>\n\nText.\n"))
    (smtps-outbox-put
     (list :account (smtps-account "sandbox") :from "f@x.example"
           :recipients '("a@x.example" "b@x.example" "c@x.example")
           :message-id "<1@x.example>")
     nil state)))

(defun smtps-outbox-ui-test-judge (id &rest verdicts)
  "Have the mail ID, in queue/, in failed/ with VERDICTS for its recipients."
  (let ((coding-system-for-write 'utf-8-unix)
        (index -1))
    (write-region
     (mapconcat
      (lambda (form) (concat (smtps-wire-print form) "\n"))
      `((attempt :number 1 :time 1700000000)
        (transcript :attempt 1 :text "3 recv> 220 x\n12 send> EHLO \e[31mred")
        ,@(mapcar (lambda (verdict)
                    `(result :attempt 1 :recipient ,(cl-incf index)
                             :verdict ,verdict
                             :code ,(and (eq verdict 'refused) 550)
                             :enhanced ,(and (eq verdict 'refused) "5.1.1")
                             :text ,(and (eq verdict 'refused) "no such user")))
                  verdicts)
        (outcome :attempt 1
                 :verdict ,(or (car (memq 'uncertain verdicts)) 'refused)
                 :text "It was \u202erefused." :next nil))
      "")
     nil (smtps-outbox--directory "queue" id "journal.sexp") nil 'silent)
    (rename-file (smtps-outbox--directory "queue" id)
                 (smtps-outbox--directory "failed" id))))

(defun smtps-outbox-ui-test-failed (&rest verdicts)
  "Put a mail into failed/ with VERDICTS for its recipients; return its id."
  (let ((id (smtps-outbox-ui-test-put 'queue)))
    (apply #'smtps-outbox-ui-test-judge id verdicts)
    id))

(defun smtps-outbox-ui-test-go (id)
  "Go to the line of the mail ID in the list, which is shown anew."
  (smtps-outbox)
  (goto-char (point-min))
  (while (not (or (eobp) (equal (car (tabulated-list-get-id)) id)))
    (forward-line 1))
  (should (equal (car (tabulated-list-get-id)) id)))

(ert-deftest smtps-outbox-ui-test-follows ()
  "The list shows a mail from the queue to its end, by itself."
  (smtps-outbox-ui-test-with
    (smtps-outbox)
    (should (equal (smtps-outbox-ui-test-shown) ""))
    ;; Only what was notified counts: the poll would come too.
    (with-current-buffer "*smtps outbox*"
      (cancel-timer smtps-outbox-ui--poll))
    (save-window-excursion (smtps-real-send))
    (smtps-real-until
     ;; Notifications come as events, for which only this waits.
     (progn (read-event nil nil 0.05)
            (smtps-outbox-ui-test-line "sent.+to-address@o.* +Interactive attem.+sandbo")))
    (should (smtps-outbox-ui-test-line "localhost accepted the message for 1 recipient"))
    (with-current-buffer "*smtps outbox*"
      (should (equal mode-line-process " 1 sent"))
      (goto-char (point-min))
      (smtps-outbox-show))
    (with-current-buffer "*smtps mail*"
      (should (search-forward "to-address@other-host.it  accepted 250 " nil t))
      (should (re-search-forward "^ +[0-9.]+  send> MAIL FROM:" nil t))
      (goto-char (point-min))
      (should-not (search-forward (smtps-real-property :password) nil t)))))

(ert-deftest smtps-outbox-ui-test-polls ()
  "What nobody notifies is seen all the same."
  (smtps-outbox-ui-test-with
    (let ((smtps-outbox-ui--poll-seconds 0.1))
      (smtps-outbox)
      (mapc #'file-notify-rm-watch smtps-outbox-ui--watches)
      (smtps-outbox-ui-test-put 'held)
      (smtps-real-until (smtps-outbox-ui-test-line "held")))
    (kill-buffer "*smtps outbox*")
    (should-not (cl-find #'smtps-outbox-ui--look-soon timer-list
                         :key #'timer--function))))

(ert-deftest smtps-outbox-ui-test-without-helper ()
  "What the files say is shown with no helper, harmless, damage included."
  (smtps-outbox-ui-test-with
    (let ((failed (smtps-outbox-ui-test-failed 'accepted 'refused 'refused))
          (uncertain (smtps-outbox-ui-test-failed 'accepted 'uncertain 'uncertain))
          (damaged (smtps-outbox-ui-test-put 'queue))
          (smtps-helper-command '("/nonexistent")))
      (delete-file (smtps-outbox--directory "queue" damaged "envelope.sexp"))
      (smtps-outbox-ui-test-go failed)
      (should (smtps-outbox-ui-test-line "^ failed .+a@x.example \\+2 +From a file .+It was \ufffdrefused"))
      (should (smtps-outbox-ui-test-line "^ uncertain "))
      (should (smtps-outbox-ui-test-line "^ damaged .+envelope.sexp is missing"))
      (smtps-outbox-show)
      (dolist (line '("a@x.example  accepted" "b@x.example  refused 550 5.1.1 no such user"
                      "0.003  recv> 220 x" "0.012  send> EHLO \ufffd[31mred"))
        (should (search-forward line nil t)))
      (smtps-outbox-ui-test-go damaged)
      (smtps-outbox-show)
      (should (search-forward "damaged  Keys: d drops it." nil t)))))

(defconst smtps-outbox-ui-test-entry
  (let ((file (expand-file-name "../wire/entry.txt"
                                (file-name-directory (or load-file-name
                                                         buffer-file-name)))))
    (with-temp-buffer
      (insert-file-contents file)
      (mapcar #'smtps-wire-read (split-string (buffer-string) "\n" t))))
  "The forms of an entry, envelope and journal, in which no field is missing.")

(defconst smtps-outbox-ui-test-kinds
  `((number . -1) (text . "x") (name . x) (flag . t) (list . (1 "a" x))
    (nothing . nil) (huge . ,most-positive-fixnum))
  "Types of values, and a value of each.")

(defun smtps-outbox-ui-test-write (id forms state)
  "Write FORMS as the envelope and the journal of the mail ID in STATE."
  (let ((end (1+ (cl-position '(end) forms :test #'equal)))
        (coding-system-for-write 'utf-8-unix))
    (cl-loop for (name part) in `(("envelope.sexp" ,(seq-take forms end))
                                  ("journal.sexp" ,(nthcdr end forms)))
             do (write-region (mapconcat (lambda (form)
                                           (concat (smtps-wire-print form) "\n"))
                                         part "")
                              nil (smtps-outbox--directory state id name)
                              nil 'silent))))

(defun smtps-outbox-ui-test-spoilt (forms)
  "Return FORMS with one value in them of another type, for each such way.
Each is a list (FORM FORMS SURE): the form, and whether that is damage for
sure; what is missing, or too large, may be."
  (cl-loop
   for form in forms
   append
   (cl-loop
    for i from 1 below (length form)
    for value = (nth i form)
    for kind = (cond ((keywordp value) 'keyword) ((eq value t) 'flag)
                     ((integerp value) 'number) ((stringp value) 'text)
                     ((symbolp value) 'name) (t 'list))
    append
    (cl-loop
     for (other . wrong) in smtps-outbox-ui-test-kinds
     unless (or (eq kind other) (and (eq kind 'keyword) (not (eq other 'number))))
     collect (let ((new (append (seq-take form i) (list wrong)
                                (nthcdr (1+ i) form))))
               (list new (cl-subst new form forms :test #'eq)
                     (not (memq other '(nothing huge)))))))))

(ert-deftest smtps-outbox-ui-test-wrong-types ()
  "Whatever stands in a field, that mail is shown, and others; a wrong type is damage."
  (smtps-outbox-ui-test-with
    (smtps-outbox-ui-test-put 'held)
    (let ((id (smtps-outbox-ui-test-put 'held "x: "))
          (smtps-helper-command '("/nonexistent"))
          (whole smtps-outbox-ui-test-entry)
          (state "held")
          (count 0))
      (dolist (next '("queue" "failed"))
        (rename-file (smtps-outbox--directory state id)
                     (smtps-outbox--directory next id))
        (setq state next)
        (pcase-dolist (`(,form ,forms ,sure)
                       `((whole ,whole nil) ,@(smtps-outbox-ui-test-spoilt whole)))
          (smtps-outbox-ui-test-write
           id (cl-subst id "ID" forms :test #'equal) state)
          (cl-incf count)
          (ert-info ((format "%s: %S" state form))
            (let ((damaged (plist-get (smtps-outbox-find id) :damaged)))
              (should-not (and (eq form 'whole) damaged))
              (should (or damaged (not sure)))
              ;; What is damaged is shown alike, wherever it lies.
              (unless (and damaged (equal state "queue"))
                (smtps-outbox-ui-test-go id)
                (should (smtps-outbox-ui-test-line "From a file"))
                (should (eq (looking-at-p " damaged ") (stringp damaged)))
                (smtps-outbox-show)
                (bury-buffer))))))
      (should (> count 500)))))

(ert-deftest smtps-outbox-ui-test-narrow ()
  "On 80 columns the subject is seen, and ElDoc shows what is cut off."
  (should (< (apply #'+ 1 (mapcar (lambda (column) (1+ (cadr column)))
                                  (smtps-outbox-ui--columns 80)))
             68))
  (smtps-outbox-ui-test-with
    (let ((failed (smtps-outbox-ui-test-failed 'accepted 'refused 'refused)))
      (smtps-outbox-ui-test-go failed)
      (should (string-match-p "refused.+  Keys: f sends it again to who has not got it"
                              (run-hook-with-args-until-success
                               'eldoc-documentation-functions #'ignore)))
      (smtps-outbox-show)
      (should (re-search-forward "^State: +failed  Keys: f sends" nil t)))))

(ert-deftest smtps-outbox-ui-test-explains ()
  "Beneath a refusal stands what it means, once for all that it refuses."
  (smtps-outbox-ui-test-with
    (let ((failed (smtps-outbox-ui-test-failed 'accepted 'refused 'refused))
          (held (smtps-outbox-ui-test-put 'held))
          (smtps-helper-command '("/nonexistent")))
      (smtps-outbox-ui-test-go failed)
      (save-window-excursion
        (smtps-outbox-show)
        (should (looking-at-p "Subject:"))
        (dolist (line '("^  a@x.example  accepted\n  b@x.example  refused 550 5\\.1\\.1 no such user\n"
                        "\\=    550 5\\.1\\.1: The mailbox does not exist"
                        "^    .*can mend it\\.\n    Next: Look at the spelling of the address"
                        "^  c@x.example  refused 550 5\\.1\\.1 no such user\n\nAttempt 1"))
          (should (re-search-forward line nil t))))
      ;; The key tells it from the list, too.
      (execute-kbd-macro "x")
      (with-current-buffer "*smtps explanation*"
        (should (string-search "Next: Look at the spelling" (buffer-string))))
      (should (equal (progn (smtps-outbox-ui-test-go held) (smtps-outbox-ui--explained))
                     nil)))))

(ert-deftest smtps-outbox-ui-test-hold ()
  "A mail is held, let go, and sent."
  (smtps-outbox-ui-test-with
    (let ((id (smtps-outbox-ui-test-put 'queue)))
      (smtps-outbox-ui-test-go id)
      (smtps-outbox-hold)
      (should (equal (smtps-real-state) '(held)))
      (smtps-real-until (smtps-outbox-ui-test-line "^ held"))
      (smtps-outbox-ui-test-go id)
      (smtps-outbox-hold)
      (smtps-real-until (equal (smtps-real-state) '(sent))))))

(ert-deftest smtps-outbox-ui-test-hold-delayed ()
  "A mail whose time has not come can be held; let go, it waits for it again."
  (smtps-outbox-ui-test-with
    (let ((smtps-send-delay 600))
      (save-window-excursion (smtps-real-send))
      (let ((id (plist-get (car (smtps-outbox-entries)) :id)))
        (smtps-outbox-ui-test-go id)
        (should (smtps-outbox-ui-test-line "^ delayed .+It goes at 2"))
        (smtps-outbox-hold)
        (setq smtps-real-told nil)
        (smtps-outbox-hold)
        (should (string-prefix-p "It goes to localhost in 10 minutes, on " (car smtps-real-told)))
        (should (equal (smtps-real-state) '(queue)))
        ;; That was the time it goes by itself; it can go now.
        (smtps-outbox-ui-test-go id)
        (smtps-outbox-retry)
        (smtps-real-until (equal (smtps-real-state) '(sent)))))))

(ert-deftest smtps-outbox-ui-test-retry ()
  "What was held is tried now; what was sent can't be."
  (smtps-outbox-ui-test-with
    (let ((id (smtps-outbox-ui-test-put 'held)))
      (smtps-outbox-ui-test-go id)
      (smtps-outbox-retry)
      (smtps-real-until (equal (smtps-real-state) '(sent)))
      (smtps-outbox-ui-test-go id)
      (should-error (smtps-outbox-retry) :type 'user-error))))

(ert-deftest smtps-outbox-ui-test-resend-failed ()
  "Only who has not got it gets it; what is uncertain is for `m' first."
  (smtps-outbox-ui-test-with
    (let ((id (smtps-outbox-ui-test-failed 'accepted 'refused 'uncertain)))
      (smtps-outbox-ui-test-go id)
      (should-error (smtps-outbox-resend-failed) :type 'user-error)
      (smtps-outbox-mark-sent)
      (smtps-real-until (smtps-real-told-p "Marked as sent"))
      (should (equal (smtps-real-state) '(failed)))
      (smtps-outbox-ui-test-go id)
      (smtps-outbox-resend-failed)
      (smtps-real-until (smtps-real-told-p "Sending to b@x.example\\.\\.\\."))
      (smtps-real-until (equal (smtps-real-state) '(sent)))
      (smtps-real-until (smtps-real-told-p "accepted the message for 1 recipient")))))

(ert-deftest smtps-outbox-ui-test-uncertain-again ()
  "An uncertain mail is sent again only if a person says so."
  (smtps-outbox-ui-test-with
    (let ((id (smtps-outbox-ui-test-failed 'uncertain 'uncertain 'uncertain))
          (answer nil))
      (cl-letf (((symbol-function 'yes-or-no-p) (lambda (_) answer)))
        (smtps-outbox-ui-test-go id)
        (should-error (smtps-outbox-retry) :type 'user-error)
        (should (equal (smtps-real-state) '(failed)))
        (setq answer t)
        (smtps-outbox-retry)
        (smtps-real-until (equal (smtps-real-state) '(sent)))))))

(ert-deftest smtps-outbox-ui-test-uncertain-among-others ()
  "It is so, too, if another recipient was tried once more, and nothing hides it."
  (smtps-outbox-ui-test-with
    (let ((id (smtps-outbox-ui-test-failed 'accepted 'uncertain 'deferred)))
      (let ((coding-system-for-write 'utf-8-unix))
        (write-region "(attempt :number 2 :time 1700000000)
(result :attempt 2 :recipient 2 :verdict accepted)
(outcome :attempt 2 :verdict accepted :text \"It was accepted.\" :next nil)\n"
                      nil (smtps-outbox--directory "failed" id "journal.sexp")
                      t 'silent))
      (smtps-outbox-ui-test-go id)
      (should (smtps-outbox-ui-test-line "^ uncertain "))
      (cl-letf (((symbol-function 'yes-or-no-p) #'ignore))
        (should-error (smtps-outbox-retry) :type 'user-error))
      (should (equal (smtps-real-state) '(failed)))
      ;; One that became so while its user was asked for something.
      (cl-letf (((symbol-function 'smtps-outbox-uncertain-p) #'ignore)
                ((symbol-function 'yes-or-no-p) (lambda (_) t)))
        (smtps-outbox-retry)
        (smtps-real-until (smtps-real-told-p "Nobody knows whether"))
        (should (equal (smtps-real-state) '(failed)))))))

(ert-deftest smtps-outbox-ui-test-edit-uncertain ()
  "Who edits what some may have got, is asked."
  (smtps-outbox-ui-test-with
    (let ((id (smtps-outbox-ui-test-failed 'deferred 'uncertain 'deferred))
          (answer nil))
      (rename-file (smtps-outbox--directory "failed" id)
                   (smtps-outbox--directory "held" id))
      (cl-letf (((symbol-function 'yes-or-no-p) (lambda (_) answer)))
        (smtps-outbox-ui-test-go id)
        (should-error (smtps-outbox-edit) :type 'user-error)
        (setq answer t)
        (smtps-outbox-edit)
        (should (derived-mode-p 'message-mode))))))

(ert-deftest smtps-outbox-ui-test-edited-went-meanwhile ()
  "A mail that was edited, and sent all the same, is not sent again silently."
  (smtps-outbox-ui-test-with
    (let ((id (smtps-outbox-ui-test-put 'held))
          (answer nil))
      (smtps-outbox-ui-test-go id)
      (smtps-outbox-edit)
      (let ((edited (current-buffer)))
        (smtps-outbox-ui-test-go id)
        (smtps-outbox-retry)
        (smtps-real-until (equal (smtps-real-state) '(sent)))
        (set-buffer edited)
        (cl-letf (((symbol-function 'yes-or-no-p) (lambda (_) answer)))
          (should-error (message-send) :type 'user-error)
          (should (equal (smtps-real-state) '(sent)))
          (setq answer t)
          (message-send)
          (smtps-real-until (equal (smtps-real-state) '(sent sent))))
        (should (smtps-outbox-find id))))))

(ert-deftest smtps-outbox-ui-test-edited-got-meanwhile ()
  "One who got the mail while it was edited is not sent it again silently."
  (smtps-outbox-ui-test-with
    (let ((id (smtps-outbox-ui-test-failed 'refused 'uncertain 'deferred))
          (asked nil))
      (rename-file (smtps-outbox--directory "failed" id)
                   (smtps-outbox--directory "held" id))
      (smtps-outbox-ui-test-go id)
      (cl-letf (((symbol-function 'yes-or-no-p)
                 (lambda (prompt) (push prompt asked) (null (cdr asked)))))
        (smtps-outbox-edit)
        (write-region "(result :attempt 2 :recipient 0 :verdict accepted)\n" nil
                      (smtps-outbox--directory "held" id "journal.sexp") t 'silent)
        (should (string-match-p
                 "\\`a@x.example got the mail.+This one was not sent"
                 (cadr (should-error (message-send) :type 'user-error))))
        (should (string-prefix-p "a@x.example got the mail" (car asked)))
        (should (equal (smtps-real-state) '(held)))
        ;; Whoever is not among them may have got it.
        (message-goto-to)
        (delete-region (line-beginning-position) (line-end-position))
        (insert "To: b@x.example")
        (message-send)
        (smtps-real-until (equal (smtps-real-state) '(sent)))
        (should (length= asked 2))))))

(ert-deftest smtps-outbox-ui-test-afterwork-damaged ()
  "What was to follow is shown to be damaged, never obeyed, and can be forgotten."
  (smtps-outbox-ui-test-with
    (let* ((id (smtps-outbox-ui-test-put 'queue))
           (file (smtps-outbox--directory "sent" id "afterwork.sexp")))
      (rename-file (smtps-outbox--directory "queue" id)
                   (smtps-outbox--directory "sent" id))
      (dolist (line '("(tag :tags 5 :id \"x\")" "(5)" "(\"x\" :a 1)" "(bcc 5)"
                      "(draft :failed (a))" "#.(error \"read\")"
                      "(replied :client message :here message)"))
        (write-region (concat "(afterwork :version 1)\n" line "\n")
                      nil file nil 'silent)
        (when (get-buffer "*smtps outbox*")
          (kill-buffer "*smtps outbox*"))
        (smtps-outbox-ui-test-go id)
        (should (smtps-outbox-ui-test-line "afterwork.sexp is damaged"))
        (smtps-send-follow-up))
      (cl-letf (((symbol-function 'yes-or-no-p) (lambda (_) t)))
        (smtps-outbox-follow))
      (should-not (file-exists-p file)))))

(ert-deftest smtps-outbox-ui-test-drop ()
  "A mail is deleted, after a question."
  (smtps-outbox-ui-test-with
    (let ((id (smtps-outbox-ui-test-put 'held))
          (answer nil))
      (cl-letf (((symbol-function 'yes-or-no-p) (lambda (_) answer)))
        (smtps-outbox-ui-test-go id)
        (should-error (smtps-outbox-drop) :type 'user-error)
        (should (equal (smtps-real-state) '(held)))
        (setq answer t)
        (smtps-outbox-drop)
        (smtps-real-until (null (smtps-real-state)))
        (smtps-real-until (equal (smtps-outbox-ui-test-shown) ""))))))

(ert-deftest smtps-outbox-ui-test-left-over ()
  "A mail that was left behind while it was written can be seen and dropped."
  (smtps-outbox-ui-test-with
    (let ((id (smtps-outbox-ui-test-put 'held))
          (smtps-outbox--writing-time -1))
      (rename-file (smtps-outbox--directory "held" id)
                   (smtps-outbox--directory "tmp" id))
      (smtps-outbox-ui-test-go id)
      (should (smtps-outbox-ui-test-line "^ left over .+From a file"))
      (smtps-outbox-show)
      (with-current-buffer "*smtps mail*"
        (should (search-forward "left over" nil t))
        (should (search-forward "c@x.example  not tried yet" nil t)))
      (smtps-outbox-ui-test-go id)
      (cl-letf (((symbol-function 'yes-or-no-p) #'always))
        (smtps-outbox-drop))
      (smtps-real-until (smtps-real-told-p "The mail was deleted"))
      (should-not (smtps-real-state))
      (should-not (smtps-outbox--names "tmp")))))

(ert-deftest smtps-outbox-ui-test-edit ()
  "A mail comes back as it was composed, and what is sent replaces it."
  (smtps-outbox-ui-test-with
    (let (id)
      (with-temp-buffer
        (setq id (smtps-outbox-ui-test-put
                  'queue
                  (encode-coding-string
                   "From: f@x.example\nTo: a@x.example\nCc: B@x.example\n\
Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\nMessage-ID: <1@x.example>\n\
MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"=-=\"\n\n\
--=-=\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n\
Text: ü\n\n--=-=\nContent-Type: text/x-c\nContent-Disposition: attachment; \
filename=a.c\n\nint x;\n--=-=--\n" 'utf-8-unix))))
      (smtps-outbox-ui-test-go id)
      (smtps-outbox-edit)
      (should (equal (smtps-real-state) '(held)))
      (should (derived-mode-p 'message-mode))
      (let ((text (buffer-string)))
        (dolist (regexp '("^Subject: Grüße$" "^Cc: B@x.example$" "^Bcc: c@x.example$"
                          "^Text: ü$" "<#part type=\"text/x-c\" filename=a\\.c "
                          "int x;"))
          (should (string-match-p regexp text)))
        (should-not (string-match-p "Message-ID\\|Content-Type" text)))
      (goto-char (point-max))
      (message-send)
      (smtps-real-until (equal (smtps-real-state) '(sent)))
      (should-not (smtps-outbox-find id)))))

(ert-deftest smtps-outbox-ui-test-edit-failed ()
  "Who has got a mail is left out of what is edited for the others."
  (smtps-outbox-ui-test-with
    (let ((id (smtps-outbox-ui-test-failed 'accepted 'refused 'refused)))
      (smtps-outbox-ui-test-go id)
      (smtps-outbox-edit)
      (should (equal (message-fetch-field "To") "b@x.example"))
      (should (equal (message-fetch-field "Bcc") "c@x.example"))
      (should (smtps-real-told-p "One of its recipients has got it already")))))

(defun smtps-outbox-ui-test-copies (id count)
  "Copy the mail ID, in queue/, COUNT times; return the ids of the copies.
To put so many would take as long as the disk needs for thousands of flushes."
  (let* ((from (smtps-outbox--directory "queue" id))
         (envelope (smtps-real-file (format "outbox/queue/%s/envelope.sexp" id)))
         (coding-system-for-write 'utf-8-unix)
         ids)
    (dotimes (_ count ids)
      (let* ((copy (smtps-outbox-new-id))
             (to (smtps-outbox--directory "queue" copy)))
        (make-directory to)
        (add-name-to-file (concat from "/message.eml") (concat to "/message.eml"))
        (write-region (string-replace id copy envelope) nil
                      (concat to "/envelope.sexp") nil 'silent)
        (push copy ids)))))

(ert-deftest smtps-outbox-ui-test-moved-meanwhile ()
  "What was moved since it was listed is not read before it is listed anew."
  (smtps-outbox-ui-test-with
    (let ((id (smtps-outbox-ui-test-put 'queue)))
      (smtps-outbox)
      (smtps-outbox-move id 'queue 'held)
      (cl-letf (((symbol-function 'smtps-outbox-find)
                 (lambda (_id) (error "It was read"))))
        (smtps-outbox-ui--learn id '(queue)))
      (smtps-outbox-ui--look nil)
      (should (smtps-outbox-ui-test-line "^ held ")))))

(ert-deftest smtps-outbox-ui-test-thousands ()
  "A look at a thousand mails, of which one has changed, is a short one."
  (smtps-outbox-ui-test-with
    (let ((ids (smtps-outbox-ui-test-copies
                (smtps-outbox-ui-test-put 'queue) 999))
          (least 1))
      (smtps-outbox)
      (should (= 1000 (how-many "^ waits .+From a file" (point-min) (point-max))))
      ;; However long it took to open, what changes is seen soon.
      (smtps-outbox-ui--look-soon (current-buffer))
      (should (time-less-p (timer--time smtps-outbox-ui--timer)
                           (time-add nil 1)))
      (cl-loop repeat 5
               do (smtps-outbox-move (pop ids) 'queue 'held)
               do (let ((began (float-time)) (gc gc-elapsed))
                    (should (smtps-outbox-ui--look nil))
                    (setq least (min least (- (float-time) began
                                              (- gc-elapsed gc))))))
      (message "A look at 1000 mails took %.1f ms" (* 1000 least))
      (should (= 5 (how-many "^ held" (point-min) (point-max)))))))

(provide 'smtps-outbox-ui-test)
;;; smtps-outbox-ui-test.el ends here
